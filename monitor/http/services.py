"""What the HTTP side needs of the daemon, and nothing more.

What lives here: one protocol. What must not: its implementation (the daemon's), HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from monitor.log.rejection import Rejected
from monitor.log.roles import SourceRules
from monitor.records import Kind


class Services(Protocol):
    """The daemon as its HTTP side sees it. Every method may be called from any thread."""

    def metrics(self) -> bytes:
        """The exposition text of the last commit; cheap."""

    def health(self) -> tuple[bool, Sequence[str]]:
        """Whether the process should go on living, and why not."""

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Whether it does its work, and why not."""

    def models(self) -> Sequence[Mapping[str, Any]]:
        """One JSON object for each configured model, with its `name` first."""

    def windows(
        self, model: str, *, version: str | None, window: str | None, maturity: str | None, limit: int
    ) -> Sequence[Mapping[str, Any]] | None:
        """Published windows as JSON objects, newest first; None for an unknown model."""

    def alarms(self, model: str) -> Mapping[str, Any] | None:
        """The model's alarms with the false-alarm budget they are held against; None for an unknown model."""

    def source_rules(self, model: str) -> SourceRules | None:
        """How records of a model are written; None where it is unknown, or its task and classes are."""

    def write_batches(self, batches: list[pa.RecordBatch]) -> None:
        """Put batches into the daemon's own spool; durable on return. Called by one thread only.

        Raises SpoolFullError where there is no room, OSError as the disk reports it.
        """

    def reject(self, rejected: Sequence[Rejected], *, source: str, model: str, kind: Kind) -> None:
        """Count rejected records and keep them as dead letters. Raises OSError as the disk reports it."""
