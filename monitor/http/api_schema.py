"""The request and response bodies of the ingestion endpoints, for the published OpenAPI document.

What lives here: JSON Schemas as plain data. What must not: checks (records are checked by `monitor.log.sources`).
"""

from __future__ import annotations

from typing import Any

_TIME = {
    "description": "RFC 3339 with an offset; a number or a naive time where the model's configuration says how",
    "anyOf": [{"type": "string", "examples": ["2026-01-31T12:00:00Z"]}, {"type": "number"}],
}
_ID = {"type": ["string", "integer"], "description": "identity together with model and version"}
_OUTPUT = {"description": "class name or index (classification), number (regression)", "type": ["string", "number"]}

PREDICTION: dict[str, Any] = {
    "type": "object",
    "description": "One answer of a model. Keys without a role here are features: numbers, text or true/false.",
    "required": ["prediction_id", "event_time"],
    "properties": {
        "model": {"type": "string"},
        "prediction_id": _ID,
        "version": {"type": ["string", "integer"]},
        "event_time": _TIME,
        "prediction": _OUTPUT,
        "probabilities": {
            "description": "by class or in class order; or as p_<class> beside the rest",
            "anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "number"}}],
        },
        "features": {"type": "object"},
        "segments": {"type": "object"},
        "embedding": {"type": "array", "items": {"type": "number"}},
        "latency_seconds": {"type": "number"},
        "request_id": {"type": "string"},
    },
    "additionalProperties": True,
}
LABEL: dict[str, Any] = {
    "type": "object",
    "description": "Ground truth of one prediction.",
    "required": ["prediction_id", "label"],
    "properties": {
        "model": {"type": "string"},
        "prediction_id": _ID,
        "label": _OUTPUT,
        "label_time": {**_TIME, "description": "when it became known; default: now"},
        "event_time": {**_TIME, "description": "the prediction's, if it is known"},
        "source": {"type": "string"},
    },
    "additionalProperties": True,
}
_RECEIPT = {
    "type": "object",
    "required": ["accepted", "rejected", "errors"],
    "properties": {
        "accepted": {"type": "integer"},
        "rejected": {"type": "integer"},
        "errors": {
            "type": "array",
            "description": "the first 100 rejected records",
            "items": {
                "type": "object",
                "required": ["line", "reason", "message"],
                "properties": {
                    "line": {"type": "integer", "description": "line, or place in the list, from 1"},
                    "reason": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
        "detail": {"type": "string"},
    },
}
_PROBLEM = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}


def request_body(record: dict[str, Any]) -> dict[str, Any]:
    """The `requestBody` of an endpoint that takes such records."""
    listed = {"anyOf": [record, {"type": "array", "items": record}]}
    content = {"application/json": {"schema": listed}, "application/x-ndjson": {"schema": {"type": "string"}}}
    return {"requestBody": {"required": True, "content": content}}


def responses() -> dict[int | str, dict[str, Any]]:
    """What an ingestion endpoint answers."""
    receipts = {202: "every good record is durable", 422: "no record was good"}
    problems = {
        400: "the body cannot be read",
        404: "no such model",
        413: "the body is too large",
        415: "not JSON or NDJSON",
        503: "not written: send it again later",
    }
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": {"application/json": {"schema": _RECEIPT}}}
        for status, text in receipts.items()
    }
    return found | problem_responses(problems)


def problem_responses(problems: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Answers that carry nothing but a `detail`."""
    content = {"application/json": {"schema": _PROBLEM}}
    return {status: {"description": text, "content": content} for status, text in problems.items()}
