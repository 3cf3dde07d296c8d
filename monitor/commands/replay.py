"""`trueup replay`: the cycle over the past, out of the log or out of files, as if in time.

What lives here: options, where the past comes from, progress, the table and the JSON. What must not: how the past is
replayed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.commands import score as scoring
from monitor.commands.adding import Map, pair
from monitor.commands.common import DEFAULT_CONFIG, AsJson, Model, console, load, print_json, print_table
from monitor.commands.progress import rows_read
from monitor.commands.windows_table import print_windows
from monitor.errors import OperatorError, RecordError
from monitor.records import Kind

if TYPE_CHECKING:
    from monitor.log.roles import SourceRules
    from monitor.log.tables import ModelLog
    from monitor.replay import Replay
    from monitor.settings import ModelSettings

app = typer.Typer(add_completion=False)

_APPEND_ROWS = 500_000
_PROGRESS_SECONDS = 2.0
_TABLES: Mapping[Kind, Any] = {"prediction": "predictions", "label": "labels"}
_SHOWN_FAULTS = 10


@app.command()
def replay(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", envvar="TRUEUP_CONFIG", help="The configuration file.")
    ] = None,
    model: Model = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First event time, such as 2026-11-01.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Event times before this.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="A file of predictions, instead of the log.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A file of labels, with --predictions; without it there is drift alone.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="A reference, or a file of labelled predictions to build one from.")
    ] = None,
    mapping: Map = None,
    every: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How far the clock goes between two evaluations.")
    ] = None,
    score: scoring.ScoreFlag = False,
    suggest: scoring.SuggestFlag = False,
    picture: scoring.Picture = None,
    version: scoring.ScoredVersion = None,
    drift: scoring.Drifts = None,
    column: scoring.Columns = None,
    trials: scoring.TrialsOption = 10,
    horizon: scoring.Horizon = None,
    rows: scoring.Rows = 5_000,
    resample: scoring.Resample = False,
    seed: scoring.Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Evaluate the past as if in time, late labels included, and show every window with its revisions.

    With --score or --suggest: what alarms did in it, what drifts they would find, and which limits follow. The log (or
    the files) is only read, and the daemon's state is not touched; a daemon may be running.
    """
    import pyarrow as pa

    from monitor.matching import match_labels
    from monitor.replay import ReplayRange
    from monitor.replay import replay as run
    from monitor.windows import parse_duration

    if predictions is None and labels is not None:
        raise OperatorError("a replay of files needs predictions", expected="--predictions FILE --labels FILE")
    chosen = ReplayRange(
        _moment(start, "--from"), _moment(end, "--to"), step_seconds=parse_duration(every) if every else None
    )
    with tempfile.TemporaryDirectory(prefix="trueup-replay-") as name:
        with rows_read(shown=not as_json) as tick:
            if predictions is None:
                files = None
                settings, log = _from_log(config or DEFAULT_CONFIG, model, reference, Path(name), mapping, tick)
                # The truth of the newest windows may still come: they are as mature as they are today.
                chosen = replace(chosen, until=round(time.time() * 1e6))
            else:
                files = _Files(predictions, labels, reference, Path(name), tick)
                settings, log = _from_files(files, config, model, mapping)
        if score or suggest:
            if files is not None:
                match_labels(
                    log,
                    settings.labels,
                    after=0,
                    until=log.last_sequence("labels"),
                    predictions_until=log.last_sequence("predictions"),
                    pending=pa.array([], pa.string()),
                )
            options = scoring.ScoreOptions(
                suggest,
                picture,
                version,
                drift or (),
                column or (),
                trials,
                horizon,
                rows,
                resample,
                seed,
                (chosen.start, chosen.end),
            )
            scoring.score_past(settings, log, options, as_json=as_json)
            return
        with _progress(not as_json) as progress:
            result = run(settings, log, chosen, progress)
    _print(settings.name, result, as_json)


@dataclass(frozen=True)
class _Files:
    predictions: Path
    labels: Path | None
    reference: Path | None
    folder: Path
    tick: Callable[[int], None]


def _from_log(
    config: Path,
    model: str | None,
    reference: Path | None,
    folder: Path,
    mapping: list[str] | None,
    tick: Callable[[int], None],
) -> tuple[ModelSettings, ModelLog]:
    from monitor.log.tables import ModelLog
    from monitor.pipeline import find_model

    settings = load(config)
    chosen = _with_learnt_values(find_model(settings, model), settings.state_url)
    if reference is not None:
        columns = dict(pair(text)[::-1] for text in mapping or [])
        chosen = _with_reference(chosen, reference, folder, columns, tick)
    return chosen, ModelLog(settings.log_url, chosen.name)


def _with_learnt_values(chosen: ModelSettings, state_url: str) -> ModelSettings:
    """With the values of segments that a daemon told apart, so that the replay tells apart the same."""
    from monitor.segment_values import with_learnt_values
    from monitor.state import open_state, sqlite_path

    path = sqlite_path(state_url)
    if set(chosen.segments) <= set(chosen.segment_values) or (path is not None and not path.exists()):
        return chosen
    state = open_state(state_url)
    try:
        return with_learnt_values(chosen, state)
    finally:
        state.close()


def _from_files(
    files: _Files, config: Path | None, model: str | None, mapping: list[str] | None
) -> tuple[ModelSettings, ModelLog]:
    from monitor.log.tables import ModelLog
    from monitor.pipeline import find_model, model_schema
    from monitor.reference_files import NO_FEATURES
    from monitor.references import ReferenceStore

    column_map = dict(pair(text)[::-1] for text in mapping or [])
    if config is not None:
        chosen = find_model(load(config), model)
        chosen = replace(chosen, column_map={**chosen.column_map, **column_map})
        if files.reference is not None:
            chosen = _with_reference(chosen, files.reference, files.folder, chosen.column_map, files.tick)
    else:
        chosen = replace(_unconfigured(files, model, column_map), column_map=column_map)
    references = ReferenceStore(chosen)
    references.refresh()
    schema = model_schema(chosen, references)
    if schema is None:
        raise OperatorError(
            "a replay of files needs a reference",
            expected="--reference with a file, or a model with one in the configuration",
            got="; ".join(references.problems.values()) or "none",
        )
    from monitor.log.roles import SourceRules

    rules = SourceRules.of(schema, chosen, version="1", source="replay")
    rules = replace(rules, excluded=rules.excluded | NO_FEATURES, epoch_unit=rules.epoch_unit)
    log = ModelLog(str(files.folder / "log"), chosen.name)
    _ingest(log, files.predictions, "prediction", rules, files.tick)
    if files.labels is not None:
        _ingest(log, files.labels, "label", replace(rules, excluded=frozenset(chosen.excluded_columns)), files.tick)
    return chosen, log


def _unconfigured(files: _Files, model: str | None, column_map: Mapping[str, str]) -> ModelSettings:
    """A model as a configuration that says nothing of it but its reference would have it."""
    import yaml

    from monitor.reference_files import read_reference

    if files.reference is None:
        raise OperatorError("a replay of files needs a reference", expected="--reference with a file, or --config")
    name = model or "model"
    built = read_reference(files.reference, name, column_map, tick=files.tick)
    path = _saved(built, files.folder)
    content = {"models": {model or built.schema.model: {"reference": path.name}}}
    config = files.folder / "trueup.yaml"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load(config).models[0]


def _with_reference(
    settings: ModelSettings,
    reference: Path,
    folder: Path,
    column_map: Mapping[str, str],
    tick: Callable[[int], None],
) -> ModelSettings:
    from monitor.reference_files import read_reference

    built = read_reference(reference, settings.name, column_map, settings.segments, tick=tick)
    return replace(settings, bundle=None, reference=_saved(built, folder))


def _saved(reference: Any, folder: Path) -> Path:
    from monitor.profiles.codec import save_reference

    path = folder / "reference.trueup"
    save_reference(reference, path)
    return path


def _ingest(log: ModelLog, path: Path, kind: Kind, rules: SourceRules, tick: Callable[[int], None]) -> None:
    """Put the records of a file into a log; what is rejected is told, and a file without a good record refused."""
    import pyarrow as pa

    from monitor.log.sources import read_file

    waiting: list[pa.Table] = []
    faults: list[str] = []
    taken = rejected = 0
    for parsed in read_file(path, kind, rules, now=round(time.time() * 1e6)):
        tick(parsed.accepted + len(parsed.rejected))
        rejected += len(parsed.rejected)
        faults += [row.message for row in parsed.rejected[: max(_SHOWN_FAULTS - len(faults), 0)]]
        if parsed.batch is None:
            continue
        waiting.append(pa.Table.from_batches([parsed.batch]))
        taken += parsed.batch.num_rows
        if sum(table.num_rows for table in waiting) >= _APPEND_ROWS:
            log.append(_TABLES[kind], pa.concat_tables(waiting, promote_options="default"), {})
            waiting = []
    if waiting:
        log.append(_TABLES[kind], pa.concat_tables(waiting, promote_options="default"), {})
    if rejected:
        console(error=True).print(f"{path.name}: {rejected:,} of {taken + rejected:,} {kind}s are rejected")
        for fault in faults:
            console(error=True).print(f"  {fault}")
    if not taken:
        raise RecordError(f"no {kind} could be taken", where=str(path), got="; ".join(faults[:3]) or "no record")


def _moment(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise OperatorError(
            "not a time", where=option, expected="such as 2026-11-01 or 2026-11-01T12:00Z", got=text
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1e6)


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error for what takes longer than two seconds."""
    if not wanted:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(error=True), transient=True)
    task = bar.add_task("replay", total=None)
    started = time.monotonic()

    def told(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if time.monotonic() - started > _PROGRESS_SECONDS:
            bar.start()

    try:
        yield told
    finally:
        bar.stop()


def _print(model: str, result: Replay, as_json: bool) -> None:
    from monitor.window_codec import window_record

    if as_json:
        print_json({"windows": [window_record(item) for item in result.windows], "alarms": list(result.alarms)})
        return
    print_windows(f"windows of {model}", result.windows)
    if result.alarms:
        rows = [[item[name] for name in ("at", "version", "check", "state", "reason")] for item in result.alarms]
        print_table("alarms", ("at", "version", "check", "state", "reason"), rows)
