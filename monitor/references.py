"""Which versions of a model have a reference, and where: the monitor's view of a bundle folder.

What lives here: reading manifests and reference files. What must not: torch, the programs of a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from monitor.errors import OperatorError, TrueupError
from monitor.profiles.codec import load_reference
from monitor.profiles.model_profile import Reference, with_segments
from monitor.profiles.segments import SegmentSpec
from monitor.settings import ModelSettings

# The key of a reference that is not a bundle's and so serves every version.
ANY_VERSION = ""


@dataclass
class ReferenceStore:
    """References of one model by version, loaded once and again when their file changes.

    They tell apart the segments that the model declares: by the values that they keep themselves, else by those of the
    configuration, else by those that were `learnt`. A declared segment of which none is known yet is left out.
    """

    settings: ModelSettings
    _loaded: dict[str, tuple[tuple[int, int], Reference]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    learnt: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _told_apart: dict[str, Reference] = field(default_factory=dict)

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
        known = {reference.identity for _, reference in self._loaded.values()}
        self._told_apart = {name: made for name, made in self._told_apart.items() if name in known}

    def get(self, version: str) -> Reference | None:
        """The reference of a version: its bundle's, else the model's own file for all versions."""
        found = self._loaded.get(version) or self._loaded.get(ANY_VERSION)
        return self._by_segments(found[1]) if found else None

    def any(self) -> Reference | None:
        """Some reference of the model, the newest version's: for its task and classes."""
        if not self._loaded:
            return None
        return self._by_segments(self._loaded[max(self._loaded)][1])

    def lacking(self) -> list[str]:
        """Declared segments that some reference does not keep values of, with none configured or learnt yet."""
        known = {*self.settings.segment_values, *self.learnt}
        kept = [{spec.name for spec in reference.segments} for _, reference in self._loaded.values()]
        return [name for name in self.settings.segments if name not in known and any(name not in own for own in kept)]

    def _by_segments(self, reference: Reference) -> Reference:
        own = {spec.name: spec for spec in reference.segments}
        values = {**self.learnt, **self.settings.segment_values}
        wanted = tuple(
            own[name] if name in own else SegmentSpec(name, values[name])
            for name in sorted(self.settings.segments)
            if name in own or name in values
        )
        if wanted == reference.segments:
            return reference
        known = self._told_apart.get(reference.identity)
        if known is None or known.segments != wanted:
            known = self._told_apart[reference.identity] = with_segments(reference, wanted)
        return known

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
