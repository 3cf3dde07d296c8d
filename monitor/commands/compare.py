"""`trueup compare`: two files in, every statistic and verdict per column out, worst first.

What lives here: options, the table, the order of the work. What must not: statistics, judgement, markup.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.common import AsJson, console, print_json, print_table, writing
from monitor.commands.progress import rows_read
from monitor.errors import OperatorError
from monitor.records import Task

if TYPE_CHECKING:
    from monitor.comparison import ColumnComparison, Comparison
    from monitor.engines.file_profiles import Tick
    from monitor.engines.plain_files import Unread
    from monitor.profiles.model_profile import Reference
    from monitor.statistics.result import Result

app = typer.Typer(add_completion=False)

# From here on a line has room for the reason of a verdict.
_WIDE = 130
# Classes in the terminal; the page and the JSON have all of them.
_CLASSES = 10
# Values of segments in the terminal.
_VALUES = 20
_SHOWN = (
    ("PSI", "population_stability_index"),
    ("KS", "kolmogorov_smirnov_statistic"),
    ("JS", "jensen_shannon_distance"),
    ("W1 (sd)", "wasserstein_distance"),
    ("missing", "missing_rate_difference"),
)


@app.command()
def compare(
    reference: Annotated[Path, typer.Argument(help="A file of rows, or a reference that `reference build` wrote.")],
    current: Annotated[Path, typer.Argument(help="A file of rows: CSV, NDJSON, JSON, Parquet or Arrow.")],
    labels: Annotated[
        Path | None, typer.Option(help="Ground truth of the current rows: prediction_id and label.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the comparison as one self-contained page.")] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression, where it cannot be told.")] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Also compare the rows of each value of this column. May be repeated."),
    ] = None,
    fail: Annotated[bool, typer.Option("--fail-on-critical", help="Exit code 1 where any column is critical.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two sets of rows column by column: what moved, by how much, and whether chance would do the same.

    Columns prediction, p_<class> and label are the model's; every other one is a feature. Ids, versions and event times
    are left aside.
    """
    from monitor.engines.plain_files import Unread

    then, now = Unread(), Unread()
    with rows_read(shown=not as_json) as tick:
        known = _reference(reference, task_of(task), segment or (), tick, then)
        comparison = _comparison(known, current, labels, tick, now)
    comparison = replace(comparison, unread=(then.rows, now.rows))
    tell_unread(reference, then)
    tell_unread(current, now)
    if html is not None:
        from monitor.export.comparison_page import comparison_page

        page = comparison_page(comparison, reference.name, current.name)
        with writing(html):
            html.write_text(page, encoding="utf-8")
    if as_json:
        from monitor.comparison import record

        print_json(record(comparison))
    else:
        _print(comparison, reference.name, current.name)
        if html is not None:
            console(error=True).print(f"written to {html}")
    if fail and comparison.count("critical"):
        raise typer.Exit(1)


def task_of(text: str | None) -> Task | None:
    if text == "classification":
        return "classification"
    if text == "regression":
        return "regression"
    if text is None:
        return None
    raise typer.BadParameter(f"{text!r} is neither classification nor regression", param_hint="--task")


def tell_unread(path: Path, unread: Unread) -> None:
    """Says on standard error how many rows of a file could not be read, and why."""
    if unread.rows:
        rows = "1 row" if unread.rows == 1 else f"{unread.rows:,} rows, the first"
        console(error=True).print(f"{path.name}: left out, because it cannot be read: {rows}: {unread.first}")


def _reference(path: Path, task: Task | None, segments: Sequence[str], tick: Tick, unread: Unread) -> Reference:
    from monitor.engines.file_profiles import reference_of_file
    from monitor.profiles.codec import is_reference, load_reference

    if not is_reference(path):
        return reference_of_file(path, task=task, tick=tick, unread=unread, segments=segments)
    known = load_reference(path)
    lacking = sorted(set(segments) - {spec.name for spec in known.segments})
    if lacking:
        hint = f"Build it: trueup reference build --segment {lacking[0]}"
        raise OperatorError("the reference is not told apart by a segment", where=str(path), got=lacking[0], hint=hint)
    return known


def _comparison(reference: Reference, path: Path, labels: Path | None, tick: Tick, unread: Unread) -> Comparison:
    from monitor.engines.file_profiles import profile_of_file, read_labels
    from monitor.engines.plain_files import appeared_columns, differing_kinds, open_plain

    file = open_plain(path, reference, unread=unread)
    truth = None if labels is None else read_labels(labels)
    with ThreadPoolExecutor(1) as pool:
        # Statistics take a tenth of a second to import: rows can be read meanwhile.
        pool.submit(importlib.import_module, "monitor.comparison")
        profile, outcome = profile_of_file(file, reference, truth=truth, tick=tick)
    from monitor.comparison import compare as compared

    if outcome is not None and outcome.unusable:
        unscored = f"{outcome.unusable:,} of {outcome.rows:,} labelled rows are not scored"
        why = "prediction or label is missing or is none that the reference knows"
        console(error=True).print(f"{unscored}: their {why}")
    if labels is not None and truth is not None:
        found = f"{0 if outcome is None else outcome.rows:,} of {profile.rows:,} rows found their label"
        console(error=True).print(f"{found} among {truth.num_rows:,} in {labels.name}")
    return compared(
        reference,
        profile,
        outcome,
        appeared=appeared_columns(file, reference),
        changed=differing_kinds(file, reference),
    )


def _print(comparison: Comparison, reference: str, current: str) -> None:
    from monitor.comparison import notes

    title = f"{current} ({comparison.current_rows:,} rows) against {reference} ({comparison.reference_rows:,} rows)"
    _print_columns(title, comparison.columns)
    rows = [
        [name, *values, comparison.reference_performance.get(name)]
        for name, result in comparison.performance.items()
        if (values := _interval(result))
    ]
    if rows:
        print_table(f"performance ({comparison.task})", ("statistic", "current", "from", "to", "reference"), rows)
        for line in notes(comparison.performance):
            console().print(line)
    if comparison.classes:
        _print_classes(comparison.classes)
    if comparison.segments:
        _print_segments(comparison)
    if comparison.sampled_rows is not None:
        text = f"cells and scales come from a sample of {comparison.sampled_rows:,} rows of the reference"
        console(error=True).print(text)


def _print_classes(classes: Mapping[str, Mapping[str, Result]]) -> None:
    from monitor.statistics.macro import worst_classes

    worst = worst_classes(classes, _CLASSES)
    title = (
        "classes" if len(worst) == len(classes) else f"the {len(worst)} of {len(classes)} classes with the lowest F1"
    )
    rows = [
        [name, results["recall"].n, *(_value(results[key]) for key in ("precision", "recall", "f1", "auroc"))]
        for name, results in worst
    ]
    print_table(title, ("class", "labels", "precision", "recall", "F1", "AUROC"), rows)


def _print_segments(comparison: Comparison) -> None:
    from monitor.comparison import segment_lines

    lines = segment_lines(comparison)
    title = "segments, worst first" + (f": {_VALUES} of {len(lines)} values" if len(lines) > _VALUES else "")
    heads = ("value", "rows", "share", "before", "labels", lines[0].metric.replace("_", " "), "before", "PSI", "of")
    rows = []
    for line in lines[:_VALUES]:
        then = line.reference_predictions
        before = "–" if then is None else f"{then / max(comparison.reference_rows, 1):.1%}"
        rows.append(
            [
                line.name,
                line.predictions,
                f"{line.predictions / max(comparison.current_rows, 1):.1%}",
                before,
                line.labels,
                _cell(line.performance),
                line.reference,
                _cell(line.drift),
                line.drift.detail if _value(line.drift) is not None else "",
            ]
        )
    print_table(title, heads, rows)


def _print_columns(title: str, columns: Sequence[ColumnComparison]) -> None:
    """The columns as a table that keeps its numbers whole; where there is no room for reasons, they stand below."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    to = console()
    if not to.is_terminal:
        # A pipe or a file has no edge.
        to.width = max(to.width, 2 * _WIDE)
    has_room = to.width >= _WIDE
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("column", overflow="fold")
    for head in ("kind", "verdict"):
        table.add_column(head, no_wrap=True)
    for head, _ in _SHOWN:
        table.add_column(head, justify="right", no_wrap=True)
    if has_room:
        table.add_column("why", overflow="fold")
    for column in columns:
        numbers = [_cell(column.statistics.get(key)) for _, key in _SHOWN]
        cells = [column.name, column.kind, column.verdict.state, *numbers]
        table.add_row(*map(Text, [*cells, column.verdict.reason] if has_room else cells))
    to.print(table)
    if not has_room:
        for column in columns:
            if column.verdict.reason:
                to.print(Text(f"{column.name}: {column.verdict.reason}"))


def _value(result: Result) -> float | None:
    from monitor.statistics.result import Estimate

    return result.value if isinstance(result, Estimate) else None


def _cell(result: Result | None) -> str:
    from monitor.statistics.result import Estimate

    return f"{result.value:.3g}" if isinstance(result, Estimate) else "–"


def _interval(result: Result) -> tuple[float | None, ...]:
    from monitor.statistics.result import Estimate

    return (result.value, result.lower, result.upper) if isinstance(result, Estimate) else ()
