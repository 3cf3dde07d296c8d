"""Which trueup this is.

What lives here: the version of the installed distribution. What must not: anything else.
"""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The version of the installed distribution `trueup`; `unknown` where it runs without being installed."""
    try:
        return metadata.version("trueup")
    except metadata.PackageNotFoundError:
        return "unknown"
