"""Which versions of a model have a reference, and where: the monitor's view of a bundle folder.

What lives here: reading manifests and reference files. What must not: torch, the programs of a bundle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import orjson

from monitor.errors import OperatorError, TrueupError
from monitor.profiles.codec import load_reference
from monitor.profiles.model_profile import Reference
from monitor.settings import ModelSettings

# The key of a reference that is not a bundle's and so serves every version.
ANY_VERSION = ""


@dataclass
class ReferenceStore:
    """References of one model by version, loaded once and again when their file changes."""

    settings: ModelSettings
    _loaded: dict[str, tuple[tuple[int, int], Reference]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def refresh(self) -> None:
        """Look for new or changed references; a broken one is noted in `problems` and stops no other."""
        self.problems = {}
        for version, path in _reference_files(self.settings, self.problems).items():
            try:
                stat = path.stat()
                stamp = (stat.st_mtime_ns, stat.st_size)
                if version not in self._loaded or self._loaded[version][0] != stamp:
                    self._loaded[version] = (stamp, load_reference(path))
            except (OSError, TrueupError) as error:
                self.problems[version] = str(error)

    def get(self, version: str) -> Reference | None:
        """The reference of a version: its bundle's, else the model's own file for all versions."""
        found = self._loaded.get(version) or self._loaded.get(ANY_VERSION)
        return found[1] if found else None

    def any(self) -> Reference | None:
        """Some reference of the model, the newest version's: for its task and classes."""
        if not self._loaded:
            return None
        return self._loaded[max(self._loaded)][1]

    def versions(self) -> list[str]:
        """Versions that have a bundle."""
        return sorted(version for version in self._loaded if version != ANY_VERSION)


def _reference_files(settings: ModelSettings, problems: dict[str, str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    if settings.reference is not None:
        files[ANY_VERSION] = settings.reference
    if settings.bundle is None:
        return files
    if not settings.bundle.is_dir():
        problems[ANY_VERSION] = f"{settings.bundle}: there is no such bundle folder"
        return files
    folders = [settings.bundle] if (settings.bundle / "manifest.json").is_file() else sorted(settings.bundle.iterdir())
    for folder in folders:
        manifest = folder / "manifest.json"
        # A bundle being written lies in a hidden folder until it is complete.
        if folder.name.startswith(".") or not manifest.is_file():
            continue
        try:
            content = orjson.loads(manifest.read_bytes())
            files[str(content["version"])] = folder / content["files"]["reference"]
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            fault = OperatorError("not a bundle's manifest", where=str(manifest), got=repr(error))
            problems[folder.name] = str(fault)
    return files
