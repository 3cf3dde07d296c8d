"""`trueup dashboards export` and `trueup rules export`: the files for Grafana and Prometheus out of the package.

What lives here: copying packaged files. What must not: their content, the code that makes them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from monitor.commands.common import AsJson, print_json, print_table

dashboards = typer.Typer(add_completion=False, no_args_is_help=True, help="Grafana dashboards and their provisioning.")
rules = typer.Typer(add_completion=False, no_args_is_help=True, help="Prometheus alert rules.")

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; made where it does not exist.")]


@dashboards.callback()
@rules.callback()
def _group() -> None:
    pass


@dashboards.command("export")
def export_dashboards(out: Out = Path("grafana"), as_json: AsJson = False) -> None:
    """Write the dashboards as JSON, and the provisioning files by which Grafana finds them."""
    files = {f"dashboards/{name}": text for name, text in _texts("grafana", "dashboards", ".json")}
    files |= {f"provisioning/{name}": text for name, text in _texts("grafana", "provisioning", ".yaml")}
    _write(out, files, as_json)


@rules.command("export")
def export_rules(out: Out = Path("prometheus"), as_json: AsJson = False) -> None:
    """Write the alert rules, and a scrape configuration to copy from."""
    _write(out, {name: text for name, text in _texts("deploy", "prometheus", ".yaml", ".yml")}, as_json)


def _texts(package: str, folder: str, *endings: str) -> list[tuple[str, str]]:
    entries = (resources.files(package) / folder).iterdir()
    return sorted((entry.name, entry.read_text("utf-8")) for entry in entries if entry.name.endswith(endings))


def _write(out: Path, files: dict[str, str], as_json: bool) -> None:
    for name, text in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    if as_json:
        print_json({"written": [str(out / name) for name in files]})
    else:
        print_table(f"written to {out}", ("file", "bytes"), [(name, len(text)) for name, text in files.items()])
