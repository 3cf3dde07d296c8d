"""Writes the dashboards as Classic JSON, or checks that the committed files are what the code makes.

What lives here: files and the command line (`python -m grafana.build [--check]`). What must not: content.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.model_dashboard import model_dashboard

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS: dict[str, Callable[[], Dashboard]] = {"trueup-model.json": model_dashboard}


def rendered() -> dict[str, str]:
    """The text of every dashboard by its file name; the same text at every call."""
    return {
        name: json.dumps(make(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, make in DASHBOARDS.items()
    }


def outdated(folder: Path) -> list[str]:
    """Names of files in `folder` that are missing, differ from the code, or that no code makes."""
    texts = rendered()
    present = {path.name for path in folder.glob("*.json")}
    changed = [name for name in texts if name not in present or (folder / name).read_text("utf-8") != texts[name]]
    return sorted({*changed, *(present - set(texts))})


def write(folder: Path) -> None:
    """Write every dashboard into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (folder / name).write_text(text, "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 where all is well, 1 where `--check` finds a file that is out of date."""
    parser = argparse.ArgumentParser(prog="python -m grafana.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed files and write nothing")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the dashboards are")
    options = parser.parse_args(arguments)
    if not options.check:
        write(options.folder)
        return 0
    old = outdated(options.folder)
    for name in old:
        sys.stderr.write(f"{options.folder / name}: not what the code makes. Run `make docs` and commit the result.\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
