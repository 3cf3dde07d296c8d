"""`trueup deadletters`: the records that could not be taken, listed, and fed again once their cause is mended.

What lives here: choosing, the table, feeding. What must not: how a record is understood, where files lie on the disk.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.common import DEFAULT_CONFIG, AsJson, Config, console, load, print_json, print_table

if TYPE_CHECKING:
    from monitor.log.dead_letters import DeadLetter
    from monitor.settings import MonitorSettings

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Records that could not be taken.")
OfModel = Annotated[str | None, typer.Option("--model", "-m", help="Only those of this model.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Only those with this reason, such as unknown_class.")]
_SHOWN = 20


@app.command("list")
def show(
    config: Config = DEFAULT_CONFIG,
    model: OfModel = None,
    reason: Reason = None,
    original: Annotated[bool, typer.Option("--original", help="Only the records as they came, one a line.")] = False,
    as_json: AsJson = False,
) -> None:
    """How many there are, by model, source and reason, and the newest of them."""
    letters = list(_chosen(load(config), model, reason))
    if original:
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(letter.original.rstrip(b"\r\n") + b"\n" for letter in letters))
        return
    if as_json:
        print_json({"dead_letters": [_shown(letter) for letter in letters]})
        return
    counts = Counter((letter.model, letter.kind, letter.source, letter.reason) for letter in letters)
    columns = ("model", "kind", "source", "reason", "records")
    print_table("dead letters", columns, [(*key, count) for key, count in sorted(counts.items())])
    newest = sorted(letters, key=lambda letter: letter.time)[-_SHOWN:]
    print_table("the newest", ("time", "message"), [(letter.time, letter.message) for letter in newest])


@app.command()
def feed(
    config: Config = DEFAULT_CONFIG,
    model: OfModel = None,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Take them again as they came; those that are good now go to the log and leave, the others stay.

    Safe to repeat, and beside a running daemon: what was fed twice counts once.
    """
    from monitor.log.dead_letters import remove_dead_letters
    from monitor.log.feeding import PARTIAL, take_again
    from monitor.log.sources import frames
    from monitor.log.spool import SpoolSettings, SpoolWriter
    from monitor.pipeline import find_model, record_rules

    settings = load(config)
    groups: dict[tuple[str, str], list[DeadLetter]] = {}
    for letter in _chosen(settings, model, reason):
        name = find_model(settings, letter.model or model).name
        groups.setdefault((name, letter.source.split()[0]), []).append(letter)
    fed: set[DeadLetter] = set()
    kept: Counter[str] = Counter()
    writer = SpoolWriter(settings.own_spool, SpoolSettings(fsync="always"))
    try:
        for (name, source), letters in groups.items():
            rules = record_rules(settings, find_model(settings, name), source=source)
            done = take_again(letters, rules, now=round(time.time() * 1e6))
            for batch in frames(done.batches):
                writer.append(batch)
            fed.update(done.taken)
            kept.update(why for _, why in done.kept)
    finally:
        writer.close()
    # Only what is durable in the spool may leave; a kill before this feeds it twice, which counts once.
    for folder in _folders(settings.dead_letters):
        remove_dead_letters(folder, fed.__contains__)
    if as_json:
        print_json({"fed": len(fed), "kept": sum(kept.values()), "reasons": dict(kept)})
        return
    rows = [("fed", len(fed)), *((f"still not taken: {name}", count) for name, count in kept.most_common())]
    print_table("dead letters", ("what", "records"), rows)
    if PARTIAL & kept.keys():
        console(error=True).print("values of a column that changed its type: their predictions are in the log already")


def _chosen(settings: MonitorSettings, model: str | None, reason: str | None) -> Iterator[DeadLetter]:
    from monitor.log.dead_letters import read_dead_letters

    for folder in _folders(settings.dead_letters):
        for letter in read_dead_letters(folder):
            if (model is None or letter.model == model) and (reason is None or letter.reason == reason):
                yield letter


def _folders(directory: Path) -> list[Path]:
    """The daemon's own, and that of the commands."""
    return [directory, *sorted(path for path in directory.glob("*/") if path.is_dir())]


def _shown(letter: DeadLetter) -> dict[str, str]:
    return {**vars(letter), "original": letter.original.decode(errors="backslashreplace")}
