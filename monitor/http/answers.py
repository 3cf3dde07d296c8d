"""The forms of an answer that is not what was asked for.

What lives here: problems as JSON. What must not: routes.
"""

from __future__ import annotations

import orjson
from fastapi import Response

_RETRY_AFTER_SECONDS = 5


def problem(status: int, detail: str) -> Response:
    """A problem as `{"detail": …}`, with the headers that belong to its status."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": str(_RETRY_AFTER_SECONDS)}}.get(status, {})
    return Response(
        orjson.dumps({"detail": detail}), status_code=status, media_type="application/json", headers=headers
    )
