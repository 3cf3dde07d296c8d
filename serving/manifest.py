"""What a server has to know of a bundle: who the model is, its task and classes, where its programs are.

What lives here: finding the version, reading `manifest.json`, checking the hashes of the files that are served. What
must not: torch, anything about how bundles are made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.errors import OperatorError, RecordError
from monitor.records import ModelSchema

MANIFEST_NAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class ServedModel:
    """The part of a manifest that serving needs; `preprocess_program` and `model_program` are TorchScript files."""

    schema: ModelSchema
    version: str
    embedding_dimension: int
    features: tuple[str, ...]
    preprocess_program: str
    model_program: str
    sha256: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.schema.model


def read_manifest(folder: Path) -> ServedModel:
    """Read `folder`/manifest.json. Raises OperatorError where it is missing, of another format or incomplete."""
    path = folder / MANIFEST_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        form = content["format"]
        if form != FORMAT:
            raise OperatorError(
                "a bundle of another format", where=str(path), expected=f"format {FORMAT}", got=f"format {form}"
            )
        return _served_model(content)
    except FileNotFoundError as error:
        raise OperatorError(
            "no bundle here, its manifest is missing",
            where=str(folder),
            expected=f"a folder with {MANIFEST_NAME}",
            hint="Make a bundle with `trueup finetune`.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecordError) as error:
        raise OperatorError(
            "the manifest of a bundle cannot be used", where=str(path), got=f"{type(error).__name__}: {error}"
        ) from error


def newest_version(folder: Path) -> Path:
    """`folder` itself if it is a bundle, else the bundle in it that was made last (`created`, then name).

    Raises OperatorError if there is none.
    """
    if (folder / MANIFEST_NAME).is_file():
        return folder
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    bundles = [entry for entry in entries if not entry.name.startswith(".") and (entry / MANIFEST_NAME).is_file()]
    if not bundles:
        raise OperatorError(
            "no bundle here, its manifest is missing",
            where=str(folder),
            expected=f"{MANIFEST_NAME}, in the folder or in a folder per version",
            got="a folder without it" if folder.is_dir() else "no such folder",
            hint="Make a bundle with `trueup finetune`.",
        )
    return max(bundles, key=lambda bundle: (_created(bundle), bundle.name))


def check_files(folder: Path, model: ServedModel, names: Sequence[str]) -> None:
    """Hold files of the bundle to the manifest's hashes. Raises OperatorError naming the first that differs."""
    for name in names:
        path = folder / name
        if not path.is_file():
            raise OperatorError("a file of the bundle is missing", where=str(path))
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != model.sha256.get(name):
            raise OperatorError(
                "a file of the bundle has changed since it was made",
                where=str(path),
                expected=f"SHA-256 {model.sha256.get(name)}",
                got=found,
                hint="Take the bundle from where it was made, or fine-tune again.",
            )


def _served_model(content: Mapping[str, Any]) -> ServedModel:
    return ServedModel(
        schema=ModelSchema(content["name"], content["task"], tuple(content["classes"])),
        version=str(content["version"]),
        embedding_dimension=int(content["embedding_dimension"]),
        features=tuple(content["features"]),
        preprocess_program=content["files"]["preprocess"]["torchscript"],
        model_program=content["files"]["model"]["torchscript"],
        sha256=dict(content["sha256"]),
    )


def _created(bundle: Path) -> str:
    try:
        return str(json.loads((bundle / MANIFEST_NAME).read_text(encoding="utf-8")).get("created", ""))
    except (OSError, ValueError, AttributeError):
        return ""
