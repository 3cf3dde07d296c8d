"""The bundle: one folder per model version that holds everything serving and monitoring need.

What lives here: file names, the manifest, hashes, atomic writing and verified loading. What must not: torch; how the
files are made.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.errors import OperatorError

FORMAT = 1
MANIFEST = "manifest.json"
MODEL_SCRIPT = "model.ts.pt"
MODEL_EXPORT = "model.pt2"
PREPROCESS_SCRIPT = "preprocess.ts.pt"
PREPROCESS_EXPORT = "preprocess.pt2"
WEIGHTS = "weights.safetensors"
REFERENCE = "reference.trueup"

FILES: Mapping[str, Any] = {
    "model": {"torchscript": MODEL_SCRIPT, "export": MODEL_EXPORT},
    "preprocess": {"torchscript": PREPROCESS_SCRIPT, "export": PREPROCESS_EXPORT},
    "weights": WEIGHTS,
    "reference": REFERENCE,
}
_NAMES = (MODEL_SCRIPT, MODEL_EXPORT, PREPROCESS_SCRIPT, PREPROCESS_EXPORT, WEIGHTS, REFERENCE)
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: its folder and its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """Version of the model."""
        return str(self.manifest["version"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the outputs; empty for regression."""
        return tuple(self.manifest["classes"])


def version_at(now: datetime) -> str:
    """The version a moment gives, in UTC and sortable as text: `20261124T143000Z`."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def version_folder(models: Path, version: str) -> Path:
    """Where a new version goes. Raises OperatorError if the name is no plain folder name or the version exists."""
    if not _FOLDER_NAME.fullmatch(version):
        raise OperatorError(
            "a version names a folder",
            where=str(models),
            expected="letters, digits, '.', '_' and '-', at most 64",
            got=repr(version),
        )
    folder = models / version
    if folder.exists():
        raise OperatorError(
            "this version exists already", where=str(folder), hint="Choose another --version; versions never change."
        )
    return folder


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder` to write a bundle into; it becomes `folder` at the end, or vanishes.

    Nobody ever sees half a bundle. Raises OperatorError if the version has come to exist meanwhile.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    draft.mkdir()
    try:
        yield draft
        for file in draft.iterdir():
            # Some writers make files that only their owner may read; the model server may be someone else.
            file.chmod(0o644)
            _sync(file)
        _sync(draft)
        try:
            draft.rename(folder)
        except OSError as error:
            raise OperatorError("this version exists already", where=str(folder), got=str(error)) from error
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `manifest.json`: `facts`, the format, the file names and their hashes. The files must be there."""
    hashes = {name: file_hash(folder / name) for name in _NAMES}
    manifest = {"format": FORMAT, **facts, "files": FILES, "sha256": hashes}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_bundle(folder: Path) -> Bundle:
    """Read and verify a bundle. Raises OperatorError if it is none, of a newer format, or a file has changed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        form, hashes = manifest["format"], dict(manifest["sha256"])
        names = {"name", "version", "task", "classes", "files"} - set(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            "not a bundle",
            where=str(folder),
            expected=f"a folder with {MANIFEST}",
            got=f"{type(error).__name__}: {error}",
        ) from error
    if form != FORMAT or names:
        raise OperatorError(
            "a bundle of another format",
            where=str(folder),
            expected=f"format {FORMAT}",
            got=f"format {form}" if form != FORMAT else f"no {', '.join(sorted(names))}",
        )
    for name in {*_NAMES, *hashes}:
        _verify(folder / name, hashes.get(name))
    return Bundle(folder, manifest)


def file_hash(file: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _verify(file: Path, expected: str | None) -> None:
    if expected is None:
        raise OperatorError("the manifest has no hash of this file", where=str(file))
    if not file.is_file():
        raise OperatorError("a file of the bundle is missing", where=str(file))
    found = file_hash(file)
    if found != expected:
        raise OperatorError(
            "a file of the bundle has changed since it was made",
            where=str(file),
            expected=f"SHA-256 {expected}",
            got=found,
            hint="Take the bundle from where it was made, or fine-tune again.",
        )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
