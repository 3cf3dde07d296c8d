"""What every command shares: how it is told its configuration, and how it answers.

What lives here: options, tables and JSON on standard output. What must not: what a command does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.errors import OperatorError

if TYPE_CHECKING:
    from rich.console import Console

    from monitor.settings import MonitorSettings

Config = Annotated[
    Path, typer.Option("--config", "-c", envvar="TRUEUP_CONFIG", help="The configuration file.", show_default=True)
]
DEFAULT_CONFIG = Path("trueup.yaml")
Model = Annotated[str | None, typer.Option("--model", "-m", help="Name of the model; not needed where there is one.")]
_WIDTH_OF_PIPES = 300
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]


def load(path: Path) -> MonitorSettings:
    """The settings in a configuration file; raises OperatorError with every fault in it."""
    from monitor.config import load_config

    return load_config(path)


def console(*, error: bool = False) -> Console:
    """Where tables go; wide enough for pipes and files."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    if stream.isatty():
        return Console(file=stream, highlight=False, markup=False)
    # A pipe or a file has no edge at which a value would have to be cut.
    return Console(file=stream, highlight=False, markup=False, soft_wrap=True, width=_WIDTH_OF_PIPES)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises OperatorError where a file that was asked for cannot be written."""
    try:
        yield
    except OSError as error:
        raise OperatorError("the file cannot be written", where=str(path), got=error.strerror or str(error)) from error


def print_json(content: Any) -> None:
    """One JSON document and a newline."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    sys.stdout.write(orjson.dumps(content, option=options, default=str).decode())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; numbers stand on the right, an absent value is a dash."""
    from rich.table import Table
    from rich.text import Text

    lines = [list(row) for row in rows]
    table = Table(title=Text(title), title_justify="left")
    for place, name in enumerate(columns):
        number = all(isinstance(row[place], int | float) or row[place] is None for row in lines) and bool(lines)
        table.add_column(Text(name), justify="right" if number else "left", no_wrap=number, overflow="fold")
    for line in lines:
        table.add_row(*(Text(shown(value)) for value in line))
    console().print(table)


def shown(value: object) -> str:
    """A value as a table shows it."""
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
