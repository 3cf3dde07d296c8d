"""The images of one TorchServe request, and what is answered for each.

What lives here: the forms a request body may have, whose prediction id counts, HTTP status and body of the response.
What must not: TorchServe's own classes, torch, decoding.

A body is an image file (as text: its base64), a multipart form with one image per (differently named) part, or JSON
`{"instances": ["<base64>", {"b64": "<base64>"}, …]}`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from monitor.errors import RecordError, TrueupError
from monitor.records import new_prediction_id
from serving.answers import check_prediction_id, item_ids

PREDICTION_ID_HEADER = "X-Prediction-Id"
REQUEST_ID_HEADER = "X-Request-Id"
BAD_REQUEST = 400
SERVER_ERROR = 500

# Headers are free text from strangers; what is kept of one is bounded.
_LONGEST_HEADER = 200


@dataclass
class Item:
    """One image of a request: its bytes on the way in; on the way out its answer, or the fault found."""

    prediction_id: str | None
    content: bytes | bytearray = b""
    request_id: str | None = None
    segments: Mapping[str, str | None] = field(default_factory=dict)
    answer: Mapping[str, Any] | None = None
    fault: str | None = None
    status: int = 200

    def refuse(self, error: TrueupError, status: int = BAD_REQUEST) -> None:
        """Answer this image with an error; the others go on."""
        self.fault, self.status = str(error), status

    def body(self) -> Mapping[str, Any]:
        """What the client is told about this image."""
        if self.fault is None:
            return self.answer or {}
        return {"error": self.fault, "status": self.status, "prediction_id": self.prediction_id}


@dataclass
class Request:
    """The images of one request; `is_list` says whether the client asked with a list and gets one back."""

    items: list[Item]
    is_list: bool = False

    @property
    def status(self) -> int:
        """HTTP status: 200 if at least one image was answered, else that of the first fault."""
        statuses = [item.status for item in self.items]
        return 200 if 200 in statuses else statuses[0]

    def response(self) -> bytes:
        """JSON body of the response."""
        bodies = [item.body() for item in self.items]
        return orjson.dumps({"predictions": bodies} if self.is_list else bodies[0])


def read_request(
    parameters: Mapping[str, Any],
    headers: Mapping[str, Any],
    segment_headers: Mapping[str, str],
    server_request_id: str | None = None,
) -> Request:
    """The images in `parameters` (TorchServe's: part name → bytes or parsed JSON); never raises on bad content.

    Header names count in any case. Without X-Prediction-Id a time-ordered id is made; a bad one refuses the request.
    """
    known = {name.lower(): value[:_LONGEST_HEADER] for name, value in headers.items() if isinstance(value, str)}
    request_id = known.get(REQUEST_ID_HEADER.lower(), server_request_id)
    segments = {name: known.get(header.lower()) for name, header in segment_headers.items()}
    try:
        prediction_id = _prediction_id(headers)
        contents, is_list = _contents(parameters)
    except RecordError as error:
        item = Item(None)
        item.refuse(error)
        return Request([item])
    items = []
    for item_id, content in zip(item_ids(prediction_id, len(contents)), contents, strict=True):
        item = Item(item_id, request_id=request_id, segments=segments)
        _read_content(item, content)
        items.append(item)
    return Request(items, is_list)


def _prediction_id(headers: Mapping[str, Any]) -> str:
    wanted = PREDICTION_ID_HEADER.lower()
    given = [value for name, value in headers.items() if name.lower() == wanted and isinstance(value, str)]
    return check_prediction_id(given[-1]) if given else new_prediction_id()


def _contents(parameters: Mapping[str, Any]) -> tuple[Sequence[Any], bool]:
    """Encoded images, and whether they came as a list. Next to a body, other parameters come from the query."""
    if "body" in parameters or len(parameters) == 1:
        content = parameters.get("body", next(iter(parameters.values())))
        if isinstance(content, bytes | bytearray | str):
            return [content], False
        instances = content.get("instances") if isinstance(content, Mapping) else None
        if isinstance(instances, list) and instances:
            return instances, True
    elif parameters:
        return list(parameters.values()), True
    raise RecordError(
        "no image in the request",
        expected='an image file, a form with one image per part, or JSON {"instances": ["<base64>", ...]}',
    )


def _read_content(item: Item, content: Any) -> None:
    if isinstance(content, bytes | bytearray):
        item.content = content
        return
    try:
        encoded = content["b64"] if isinstance(content, Mapping) else content
        item.content = base64.b64decode(encoded, validate=True)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        item.refuse(RecordError("not an encoded image", where=item.prediction_id, expected="base64", got=reason))
