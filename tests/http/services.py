"""A small daemon behind the HTTP side: a real spool and real dead letters, models that never change."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from monitor.log.dead_letters import DeadLetters
from monitor.log.rejection import Rejected
from monitor.log.sources import SourceRules
from monitor.log.spool import SpoolSettings, SpoolWriter, read_segment, sealed_segments
from monitor.records import Kind, ModelSchema, describe
from tests.records_samples import MODEL

NOW_SECONDS = 1_790_000_000.0
PRICE = ModelSchema("price", "regression")


class SpoolServices:
    """Implements `monitor.http.services.Services`; what was written is read back from the segments."""

    def __init__(self, folder: Path, models: Sequence[ModelSchema] = (MODEL,), **settings: Any) -> None:
        self.folder = folder
        self.schemas = {model.model: model for model in models}
        self.writer = SpoolWriter(folder / "spool", SpoolSettings(fsync="always", **settings), writer="daemon")
        self.dead_letters = DeadLetters(folder / "dead")
        self.writes = 0
        self.exposition = b"# TYPE trueup_x gauge\ntrueup_x 1\n" * 100
        self.conditions: tuple[bool, Sequence[str]] = (True, ())
        self.published: list[Mapping[str, Any]] = []
        self.asked: dict[str, Any] = {}
        self.gate = threading.Event()
        self.gate.set()
        self._arrived = threading.Event()

    def waiting(self) -> bool:
        """Whether something has come to be written."""
        return self._arrived.is_set()

    def metrics(self) -> bytes:
        return self.exposition

    def health(self) -> tuple[bool, Sequence[str]]:
        return True, ()

    def ready(self) -> tuple[bool, Sequence[str]]:
        return self.conditions

    def models(self) -> Sequence[Mapping[str, Any]]:
        return [{"name": name, "task": schema.task} for name, schema in self.schemas.items()]

    def windows(
        self, model: str, *, version: str | None, window: str | None, maturity: str | None, limit: int
    ) -> Sequence[Mapping[str, Any]] | None:
        self.asked = {"version": version, "window": window, "maturity": maturity, "limit": limit}
        return self.published[:limit] if model in self.schemas else None

    def alarms(self, model: str) -> Mapping[str, Any] | None:
        return {"model": model, "alarms": [{"check": "accuracy"}]} if model in self.schemas else None

    def source_rules(self, model: str) -> SourceRules | None:
        schema = self.schemas.get(model)
        return None if schema is None else SourceRules(schema, version="1")

    def write_batches(self, batches: list[pa.RecordBatch]) -> None:
        self._arrived.set()
        self.gate.wait()
        self.writes += 1
        for batch in batches:
            self.writer.append(batch)

    def reject(self, rejected: Sequence[Rejected], *, source: str, model: str, kind: Kind) -> None:
        now = round(NOW_SECONDS * 1e6)
        self.dead_letters.add(rejected, source=source, model=model, kind=kind, now=now)

    def written(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(kind, model, row) of everything that is in the spool."""
        self.writer.seal()
        rows = []
        for _, _, path in sealed_segments(self.folder / "spool"):
            for batch in read_segment(path).batches:
                kind, model = describe(batch.schema)
                rows += [(kind, model.model, row) for row in batch.to_pylist()]
        return rows

    def ids(self) -> list[str]:
        return [row["prediction_id"] for _, _, row in self.written()]
