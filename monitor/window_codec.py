"""A window's result as JSON: the form of the state, of `history`, of `replay` and of the HTTP interface.

What lives here: encoding and decoding. What must not: any computation on the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.segments import SegmentStatistics
from monitor.verdict import Verdict, WindowResult
from monitor.windows import Window, parse_duration

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def window_record(result: WindowResult) -> dict[str, Any]:
    """Plain data of a window result; absent values carry `reason` and no `value`.

    `segments` is there where the model has any: by segment and value what the window has as a whole, drift of the worst
    columns only. `classes`, the 20 with the lowest F1, are there where a classification has labels.
    """
    record = {
        "model": result.model,
        "version": result.version,
        "window": result.window.name,
        "start": iso(result.window.start),
        "end": iso(result.window.end),
        "maturity": result.maturity,
        "revision": result.revision,
        "predictions": result.predictions,
        "labels": result.labels,
        "label_coverage": result.label_coverage,
        "values": {name: _result_record(value) for name, value in result.values.items()},
        "columns": _column_records(result.columns),
        "verdicts": {name: _compact(vars(verdict)) for name, verdict in result.verdicts.items()},
    }
    if result.classes:
        record["classes"] = _column_records(result.classes)
    if result.segments:
        record["segments"] = {
            segment: {value: segment_record(found) for value, found in values.items()}
            for segment, values in result.segments.items()
        }
    return record


def segment_record(found: SegmentStatistics) -> dict[str, Any]:
    """Plain data of one value of a segment."""
    return {
        "predictions": found.predictions,
        "labels": found.labels,
        "reference_predictions": found.reference_predictions,
        "excess": found.excess,
        "values": {name: _result_record(value) for name, value in found.values.items()},
        "columns": _column_records(found.columns),
    }


def encode_window(result: WindowResult) -> str:
    """The JSON text of a window result."""
    return orjson.dumps(window_record(result)).decode()


def decode_window(text: str) -> WindowResult:
    """A window result from its JSON text."""
    record = orjson.loads(text)
    window = Window(_micros(record["start"]), _micros(record["end"]), parse_duration(record["window"]))
    return WindowResult(
        model=record["model"],
        version=record["version"],
        window=window,
        maturity=record["maturity"],
        revision=record["revision"],
        predictions=record["predictions"],
        labels=record["labels"],
        label_coverage=record["label_coverage"],
        values=_results(record["values"]),
        columns=_columns(record["columns"]),
        verdicts={name: Verdict(**verdict) for name, verdict in record["verdicts"].items()},
        segments={
            segment: {value: _segment(found) for value, found in values.items()}
            for segment, values in record.get("segments", {}).items()
        },
        classes=_columns(record.get("classes", {})),
    )


def counts_of(text: str) -> tuple[int, int]:
    """Predictions and labels of a window result's JSON text."""
    record = orjson.loads(text)
    return record["predictions"], record["labels"]


def iso(microseconds: int) -> str:
    """RFC 3339 text, in UTC, of microseconds since the epoch."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def _micros(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def _result_record(result: Result) -> dict[str, Any]:
    if isinstance(result, Absent):
        return {"reason": str(result.reason), "n": result.n, "detail": result.detail}
    # By hand: a window has hundreds of them.
    record: dict[str, Any] = {"value": result.value, "n": result.n}
    if result.lower is not None:
        record["lower"] = result.lower
    if result.upper is not None:
        record["upper"] = result.upper
    if result.level is not None:
        record["level"] = result.level
    if result.p_value is not None:
        record["p_value"] = result.p_value
    if result.error_bound is not None:
        record["error_bound"] = result.error_bound
    if result.detail:
        record["detail"] = result.detail
    return record


def _column_records(columns: Mapping[str, Mapping[str, Result]]) -> dict[str, Any]:
    return {
        column: {name: _result_record(value) for name, value in statistics.items()}
        for column, statistics in columns.items()
    }


def _segment(record: Mapping[str, Any]) -> SegmentStatistics:
    return SegmentStatistics(
        record["predictions"],
        record["labels"],
        _results(record["values"]),
        _columns(record["columns"]),
        record["reference_predictions"],
        record["excess"],
    )


def _columns(records: Mapping[str, Any]) -> dict[str, dict[str, Result]]:
    return {column: _results(statistics) for column, statistics in records.items()}


def _results(records: Mapping[str, Any]) -> dict[str, Result]:
    return {name: _result(record) for name, record in records.items()}


def _result(record: Mapping[str, Any]) -> Result:
    if "value" in record:
        return Estimate(**record)
    return Absent(Reason(record["reason"]), record["n"], record["detail"])


def _compact(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None and value != ""}
