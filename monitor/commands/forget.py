"""`trueup forget`: predictions and their labels are removed for good, wherever trueup keeps or moves them.

What lives here: options, the order of the places, the answer. What must not: how rows are found and deleted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.common import DEFAULT_CONFIG, AsJson, Config, Model, load, print_json, print_table
from monitor.errors import OperatorError

if TYPE_CHECKING:
    from monitor.log.dead_letters import DeadLetter

app = typer.Typer(add_completion=False)
# A model server seals what it wrote after a few seconds; so long its open segment is waited for.
_OPEN_SECONDS = 15.0


@app.command()
def forget(
    identifiers: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Prediction ids.")] = None,
    before: Annotated[
        str | None, typer.Option(metavar="DATE", help="All days before this one (UTC), such as 2026-01-31.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Remove predictions with their labels for good; the next evaluation computes their windows without them.

    Refused while a daemon holds the state: stop it, forget, start it again.
    """
    from monitor.forgetting import forget_before, forget_identifiers
    from monitor.pipeline import Pipeline, find_model
    from monitor.state import holder_pid

    wanted, day = _asked(identifiers, before)
    settings = load(config)
    name = find_model(settings, model).name
    if (pid := holder_pid(settings.state_url)) is not None:
        raise OperatorError(
            "the daemon is running and may write what is to be forgotten",
            where=settings.state_url,
            got=f"process {pid}",
            hint="Stop it, forget, start it again",
        )
    pipeline = Pipeline(settings, clock=time.time)
    try:
        _drain(pipeline.ingest, settings.spools, wanted)
        log, seconds = pipeline.models[name].log, pipeline.models[name].settings.windows.pane_seconds
        if day is not None:
            done = forget_before(log, pipeline.state, day, seconds)
        else:
            done = forget_identifiers(log, pipeline.state, wanted, seconds)
        letters = _forget_letters(settings.dead_letters, _of_day(name, day) if day else _with_ids(wanted))
    finally:
        pipeline.close()
    panes = sum(len(starts) for starts in done.panes.values())
    if as_json:
        print_json({"model": name, "rows": done.rows, "dead_letters": letters, "panes_to_rebuild": panes})
        return
    rows = [(table, count) for table, count in done.rows.items()]
    print_table(
        f"forgotten of {name}", ("what", "rows"), [*rows, ("dead letters", letters), ("panes to rebuild", panes)]
    )


def _asked(identifiers: Sequence[str] | None, before: str | None) -> tuple[list[str], date | None]:
    if bool(identifiers) == (before is not None):
        raise OperatorError("what is to be forgotten?", expected="either prediction ids or --before DATE")
    try:
        return list(identifiers or []), None if before is None else date.fromisoformat(before)
    except ValueError:
        raise OperatorError(
            "not a day", where="--before", expected="a date such as 2026-01-31", got=repr(before)
        ) from None


def _drain(ingest: Callable[[], object], spools: Iterable[Path], identifiers: Sequence[str]) -> None:
    """Have everything in the log that is on its way there; segments that cannot be taken in are an error."""
    deadline = time.monotonic() + _OPEN_SECONDS
    needles = [identifier.encode() for identifier in identifiers]
    while True:
        progress = ingest()
        errors = getattr(progress, "errors", [])
        if errors:
            raise OperatorError("the spools could not be taken in first", got=errors[0])
        # Frames are not compressed: an id in one is found as it is.
        holding = [path for root in spools for path in root.glob("*/*.*") if _holds(path, needles)]
        if not holding:
            return
        if time.monotonic() > deadline:
            raise OperatorError(
                "a model server still holds some of it in an open segment", where=str(holding[0]), hint="Try again."
            )
        time.sleep(0.1)


def _holds(path: Path, needles: Sequence[bytes]) -> bool:
    if not needles:
        return False
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # sealed meanwhile: the next look finds it under its new name
        return True
    return any(needle in content for needle in needles)


def _forget_letters(directory: Path, wanted: Callable[[DeadLetter], bool]) -> int:
    from monitor.log.dead_letters import remove_dead_letters

    folders = [directory, *(path for path in directory.glob("*/") if path.is_dir())]
    return sum(remove_dead_letters(folder, wanted) for folder in folders)


def _with_ids(identifiers: Sequence[str]) -> Callable[[DeadLetter], bool]:
    # As a word of its own: forgetting "7" must not take every record with a 7 in it.
    words = b"|".join(re.escape(identifier.encode()) for identifier in identifiers)
    pattern = re.compile(rb"(?<![A-Za-z0-9_-])(" + words + rb")(?![A-Za-z0-9_-])")
    return lambda letter: bool(pattern.search(letter.original) or pattern.search(letter.message.encode()))


def _of_day(model: str, day: date) -> Callable[[DeadLetter], bool]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return lambda letter: letter.model == model and datetime.fromisoformat(letter.time) < start
