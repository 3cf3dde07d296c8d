"""How a server is told what to log: one small JSON object, packed with the model, changed when it is served.

What lives here: the keys, their checks, and who overrides whom. What must not: reading the environment anywhere but
in `from_environment`, model servers.

    {"spool": "/var/lib/trueup/spool", "segments": {"region": "X-Region"}, "sample": 0.1,
     "columns": {"exclude": ["embedding"], "hash": ["customer"]}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.errors import OperatorError
from serving.capture import CaptureSettings
from serving.record_batches import Privacy

PACKED_NAME = "trueup.json"
FILE_VARIABLE = "TRUEUP_CAPTURE"
SPOOL_VARIABLE = "TRUEUP_SPOOL"
KEY_VARIABLE = "TRUEUP_HASH_KEY"

_KEYS = ("spool", "segments", "sample", "columns")


@dataclass(frozen=True)
class CaptureConfig:
    """What to log and where; no spool means that nothing is logged. `segments` maps segment name to HTTP header."""

    spool: Path | None = None
    segments: Mapping[str, str] = field(default_factory=dict)
    sample: float = 1.0
    exclude: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()

    def settings(self, key: str | None) -> CaptureSettings | None:
        """Settings of the capture, or None without a spool; `key` is the secret that columns are hashed with."""
        if self.spool is None:
            return None
        privacy = Privacy(self.exclude, self.hashed, key.encode() if key else None)
        return CaptureSettings(self.spool, sample=self.sample, privacy=privacy)


def read_capture_config(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, checked. Raises OperatorError naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OperatorError("the capture settings cannot be read", where=str(path), got=str(error)) from error
    parse_capture_config(content, str(path))
    return dict(content)


def parse_capture_config(content: object, where: str) -> CaptureConfig:
    """Check the JSON object of the module's example. Raises OperatorError naming `where` and every fault."""
    if not isinstance(content, Mapping):
        raise OperatorError("capture settings are a JSON object", where=where, got=type(content).__name__)
    columns = content.get("columns", {})
    columns = columns if isinstance(columns, Mapping) else {"": columns}
    sample, spool = content.get("sample", 1.0), content.get("spool")
    faults = [f"unknown key {key!r} (known: {', '.join(_KEYS)})" for key in content if key not in _KEYS]
    faults += [f"unknown key columns.{key} (known: exclude, hash)" for key in columns if key not in ("exclude", "hash")]
    if not (spool is None or (isinstance(spool, str) and spool)):
        faults.append(f"spool is a path, not {spool!r}")
    if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 <= sample <= 1:
        faults.append(f"sample is a number from 0 to 1, not {sample!r}")
    if not _is_text_mapping(content.get("segments", {})):
        faults.append('segments maps names to headers, as {"region": "X-Region"}')
    rules = {key: columns.get(key, []) for key in ("exclude", "hash")}
    faults += [f"columns.{key} is a list of names" for key, names in rules.items() if not _is_names(names)]
    if faults:
        raise OperatorError("; ".join(faults), where=where)
    return CaptureConfig(
        spool=Path(spool) if spool else None,
        segments=dict(content.get("segments", {})),
        sample=float(sample),
        exclude=tuple(rules["exclude"]),
        hashed=tuple(rules["hash"]),
    )


def from_environment(packed: Path, environment: Mapping[str, str]) -> CaptureConfig:
    """The packed settings (if that file exists), overridden key by key by the file that TRUEUP_CAPTURE names, and the
    spool by TRUEUP_SPOOL (empty: log nothing)."""
    content = read_capture_config(packed) if packed.is_file() else {}
    if given := environment.get(FILE_VARIABLE):
        content |= read_capture_config(Path(given))
    if SPOOL_VARIABLE in environment:
        content["spool"] = environment[SPOOL_VARIABLE] or None
    return parse_capture_config(content, f"{packed.name}, {FILE_VARIABLE}, {SPOOL_VARIABLE}")


def _is_text_mapping(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) and text for pair in value.items() for text in pair)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
