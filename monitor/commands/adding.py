"""`trueup predictions add` and `trueup labels add`: records out of a file into the spool that the daemon ingests.

What lives here: options, progress, what is said of rejected rows. What must not: how a file is read, where spools are.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.commands.common import DEFAULT_CONFIG, AsJson, Config, Model, console, load, print_json, print_table
from monitor.errors import OperatorError, RecordError
from monitor.records import Kind

if TYPE_CHECKING:
    from monitor.log.rejection import Rejected
    from monitor.log.roles import SourceRules
    from monitor.settings import ModelSettings, MonitorSettings

predictions = typer.Typer(add_completion=False, no_args_is_help=True, help="Add predictions that no server captured.")
labels = typer.Typer(add_completion=False, no_args_is_help=True, help="Add ground truth.")

File = Annotated[Path, typer.Argument(help="CSV, NDJSON, JSON, Parquet or Arrow, by its ending; .gz too.")]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="ROLE=COLUMN", help="A column that is called otherwise. Repeatable."),
]
_SHOWN_FAULTS = 10
_PROGRESS_SECONDS = 2.0


@predictions.callback()
@labels.callback()
def _group() -> None:
    pass


@predictions.command("add")
def add_predictions(
    file: File,
    config: Config = DEFAULT_CONFIG,
    model: Model = None,
    version: Annotated[str | None, typer.Option(help="Version of rows that name none.")] = None,
    mapping: Map = None,
    as_json: AsJson = False,
) -> None:
    """Add predictions from a file; the same file twice counts once."""
    _add(file, "prediction", config, model, version, mapping, as_json)


@labels.command("add")
def add_labels(
    file: File,
    config: Config = DEFAULT_CONFIG,
    model: Model = None,
    mapping: Map = None,
    as_json: AsJson = False,
) -> None:
    """Add ground truth from a file; a later label of the same prediction corrects the earlier."""
    _add(file, "label", config, model, None, mapping, as_json)


def _add(
    file: Path,
    kind: Kind,
    config: Path,
    model: str | None,
    version: str | None,
    mapping: list[str] | None,
    as_json: bool,
) -> None:
    from monitor.log.dead_letters import DeadLetters
    from monitor.log.rejection import Rejected
    from monitor.log.sources import frames, read_file
    from monitor.log.spool import SpoolSettings, SpoolWriter
    from monitor.pipeline import find_model

    settings = load(config)
    chosen = find_model(settings, model)
    rules = _rules(settings, chosen, version, mapping, f"file {file.name}")
    letters = DeadLetters(settings.dead_letters / "files")
    now = round(time.time() * 1e6)
    accepted, rejected, faults = 0, Counter[str](), list[Rejected]()
    writer = SpoolWriter(settings.own_spool, SpoolSettings(fsync="interval"))
    started, told = time.monotonic(), 0.0
    try:
        for parsed in read_file(file, kind, rules, now=now):
            if parsed.batch is not None:
                for batch in frames([parsed.batch]):
                    writer.append(batch)
            accepted += parsed.accepted
            if parsed.rejected:
                letters.add(parsed.rejected, source=f"file {file}", model=chosen.name, kind=kind, now=now)
                _count(parsed.rejected, rejected, faults)
            if not as_json and time.monotonic() - max(started, told) > _PROGRESS_SECONDS:
                told = time.monotonic()
                console(error=True).print(f"{accepted:,} {kind}s read, {sum(rejected.values()):,} rejected")
    finally:
        writer.close()
    _report(file, kind, chosen.name, accepted, rejected, faults, letters.directory, as_json)


def _rules(
    settings: MonitorSettings, model: ModelSettings, version: str | None, mapping: list[str] | None, source: str
) -> SourceRules:
    from dataclasses import replace

    from monitor.pipeline import record_rules

    given = dict(pair(text) for text in mapping or [])
    mapped = replace(model, column_map={**model.column_map, **{column: role for role, column in given.items()}})
    return record_rules(settings, mapped, version=version, source=source)


def pair(text: str) -> tuple[str, str]:
    """Role and column of ROLE=COLUMN."""
    role, separator, column = text.partition("=")
    if not (role and separator and column):
        raise typer.BadParameter(f"{text!r} is not ROLE=COLUMN, such as id=request_id", param_hint="--map")
    return role, column


def _count(rows: list[Rejected], rejected: Counter[str], faults: list[Rejected]) -> None:
    rejected.update(row.reason.value for row in rows)
    faults += rows
    faults.sort(key=lambda row: row.line)
    del faults[_SHOWN_FAULTS:]


def _report(
    file: Path,
    kind: Kind,
    model: str,
    accepted: int,
    rejected: Counter[str],
    faults: list[Rejected],
    letters: Path,
    as_json: bool,
) -> None:
    total = sum(rejected.values())
    if as_json:
        content: dict[str, Any] = {"file": str(file), "model": model, "accepted": accepted, "rejected": total}
        print_json(
            {
                **content,
                "reasons": dict(rejected),
                "errors": [row.message for row in faults],
                "dead_letters": str(letters),
            }
        )
    else:
        rows = [("accepted", accepted), *((f"rejected: {reason}", count) for reason, count in rejected.most_common())]
        print_table(f"{kind}s of {model} from {file.name}", ("what", "records"), rows)
        for fault in faults:
            console(error=True).print(fault.message)
        if total:
            console(error=True).print(f"rejected records are kept in {letters}")
    if not accepted and not total:
        raise RecordError("no records in the file", where=str(file))
    if not accepted:
        raise OperatorError("no record was taken", where=str(file), got=f"{total} rejected")
