"""From a bundle to a TorchServe model archive (`.mar`).

What lives here: choosing the files, calling torch-model-archiver. What must not: serving, torch.

The archive holds the two TorchScript programs, the manifest and the handler. It does not hold `serving` and `monitor`:
the worker takes them from the interpreter that runs TorchServe, so that a fix reaches every model.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.errors import OperatorError
from serving.capture_config import PACKED_NAME, parse_capture_config
from serving.manifest import MANIFEST_NAME, ServedModel, check_files, newest_version, read_manifest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
ARCHIVE_SUFFIX = ".mar"
_HANDLER_NAME = "trueup_handler.py"


def archive_bundle(bundle: Path, out: Path, capture: Mapping[str, Any] | None = None) -> Path:
    """Write `<out>/<model name>.mar` from a bundle, or from the newest version in a folder of them; its path.

    `capture` (see `serving.capture_config`) is packed with the model. An archive of that name is replaced as a whole.
    Raises OperatorError where the bundle is incomplete or changed, or the archiver fails.
    """
    folder = newest_version(bundle)
    model = read_manifest(folder)
    programs = (model.model_program, model.preprocess_program)
    check_files(folder, model, programs)
    _check_name(model)
    if capture is not None:
        parse_capture_config(capture, PACKED_NAME)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trueup-archive-") as scratch:
        made = _run_archiver(model, _collect(folder, programs, capture, Path(scratch)))
        target = out / made.name
        # Two steps, so that a server never finds half an archive.
        draft = out / f".{made.name}.{os.getpid()}"
        shutil.copyfile(made, draft)
        draft.replace(target)
    return target


def _check_name(model: ServedModel) -> None:
    if not _NAME.fullmatch(model.name):
        raise OperatorError(
            "TorchServe does not take this model name",
            where=f"model {model.name!r}",
            expected="letters, digits, '.', '_' and '-', the first a letter or digit",
        )


def _collect(folder: Path, programs: tuple[str, ...], capture: Mapping[str, Any] | None, scratch: Path) -> Path:
    """Everything that goes into the archive under `scratch`: the archiver splits and globs the paths it is given, so
    it gets none that a user chose."""
    content = scratch / "content"
    content.mkdir()
    for name in (MANIFEST_NAME, *programs):
        shutil.copyfile(folder / name, content / Path(name).name)
    if capture is not None:
        (content / PACKED_NAME).write_text(json.dumps(dict(capture), indent=2), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("handler.py"), scratch / _HANDLER_NAME)
    return scratch


def _run_archiver(model: ServedModel, scratch: Path) -> Path:
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", model.name]
    command += ["--version", model.version, "--handler", str(scratch / _HANDLER_NAME)]
    command += ["--serialized-file", str(scratch / "content" / Path(model.model_program).name)]
    command += ["--extra-files", str(scratch / "content"), "--export-path", str(scratch)]
    # The archiver collects files in <temporary folder>/<model name>, whoever else uses that name.
    work = scratch / "work"
    work.mkdir()
    environment = os.environ | {"TMPDIR": str(work)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    made = scratch / (model.name + ARCHIVE_SUFFIX)
    if done.returncode != 0 or not made.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise OperatorError(
            "torch-model-archiver failed",
            where=f"model {model.name!r}",
            got=lines[-1] if lines else f"exit code {done.returncode}",
            hint="Is it installed? pip install 'trueup[torchserve]'.",
        )
    return made
