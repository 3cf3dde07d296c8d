"""Records by HTTP: read a bounded body, understand it, acknowledge it when it is durable.

What lives here: the two ingestion endpoints. What must not: how records are understood (`monitor.log.sources`), tokens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import Request, Response

from monitor.errors import RecordError
from monitor.http.answers import problem
from monitor.http.group_commit import GroupCommit
from monitor.http.intake import Intake, Records
from monitor.http.services import Services
from monitor.log.conversion import Parsed
from monitor.log.rejection import RejectReason
from monitor.log.roles import SourceRules
from monitor.log.sources import (
    Alike,
    Body,
    BodyFormat,
    RulesOf,
    alike,
    convert_body,
    read_body,
)
from monitor.log.spool import SpoolFullError
from monitor.logs import log_event
from monitor.records import Kind

# Smaller bodies are understood faster than a thread takes them over.
_INLINE_BYTES = 32 * 1024
# Bodies under way together; beyond it clients are asked to come back, instead of the memory growing.
_MOST_BYTES_UNDER_WAY = 256 * 1024 * 1024
MOST_ERRORS_SHOWN = 100

FORMATS: Mapping[str, BodyFormat] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/json-lines": "ndjson",
}


class _RefusedError(Exception):
    """The request is answered with a problem; `close`d, what else it sends is not even read."""

    def __init__(self, status: int, detail: str, *, close: bool = False) -> None:
        self.response = problem(status, detail)
        if close:
            self.response.headers["Connection"] = "close"
        super().__init__(detail)


class Ingestion:
    """Takes predictions and labels. One instance serves all requests of an app."""

    def __init__(self, services: Services, *, maximum_body_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._services = services
        self._maximum = maximum_body_bytes
        self._clock = clock
        self._commit = GroupCommit[Records, list[Parsed]](Intake(services.write_batches, self._now).handle)
        self._under_way = 0

    def start(self) -> None:
        """Start the thread that writes."""
        self._commit.start()

    def close(self) -> None:
        """Write what was taken and end the thread."""
        self._commit.close()

    def _now(self) -> int:
        return round(self._clock() * 1_000_000)

    async def take(self, request: Request, kind: Kind) -> Response:
        """202 when every good record is durable, 422 if none is good; other problems as they are."""
        taken, content = 0, bytearray()
        try:
            body_format = _format(request)
            rules = self._rules(request.query_params.get("model"))
            self._check_declared_length(request)
            async for block in request.stream():
                taken += len(block)
                if taken > 2 * self._maximum:
                    break
                if taken <= self._maximum:
                    self._under_way += len(block)
                    content += block
            self._check_length(taken)
            records = await self._understand(bytes(content), body_format, kind, rules)
            results = await self._commit_records(records, request.url.path)
            return await self._receipt(results, kind, request.url.path)
        except _RefusedError as refusal:
            return refusal.response
        finally:
            self._under_way -= len(content)

    def _rules(self, asked: str | None) -> RulesOf:
        """Rules by the model that a record names; without one it is that of the request, or the only one there is."""
        if asked is not None and self._services.source_rules(asked) is None:
            raise _RefusedError(404, f"no model {asked!r:.120} takes records here")

        def find(name: str | None) -> SourceRules | None:
            wanted = asked or name
            if wanted is None:
                known = [str(model["name"]) for model in self._services.models()]
                wanted = known[0] if len(known) == 1 else None
            return None if wanted is None else self._services.source_rules(wanted)

        return find

    def _check_declared_length(self, request: Request) -> None:
        """Refuse a body by what it says of itself, unless it is little enough to be read to its end first.

        A client that is cut off while it sends may never see the answer.
        """
        declared = request.headers.get("content-length", "0")
        length = int(declared) if declared.isascii() and declared.isdigit() else 0
        if length > 2 * self._maximum:
            self._check_length(length)
        if self._under_way + min(length, self._maximum) > _MOST_BYTES_UNDER_WAY:
            raise _RefusedError(503, "too much is being sent at once, try again later", close=True)

    def _check_length(self, length: int) -> None:
        if length > self._maximum:
            raise _RefusedError(413, f"the body is too large: at most {self._maximum} bytes", close=True)

    async def _understand(self, content: bytes, body_format: BodyFormat, kind: Kind, rules: RulesOf) -> Records:
        """Records to be converted with those of others, or, where they are many, converted here and now."""
        try:
            if len(content) > _INLINE_BYTES:
                return await asyncio.to_thread(lambda: self._convert(read_body(content, body_format), kind, rules))
            body = read_body(content, body_format)
            together = alike(body, kind, rules)
            if together is not None:
                return together
            return await asyncio.to_thread(self._convert, body, kind, rules)
        except RecordError as error:
            raise _RefusedError(400, str(error)) from error

    def _convert(self, body: Body, kind: Kind, rules: RulesOf) -> list[Parsed]:
        return convert_body(body, kind, rules, now=self._now())

    async def _commit_records(self, records: Records, path: str) -> list[Parsed]:
        if not isinstance(records, Alike) and not any(part.batch is not None for part in records):
            return records
        try:
            return await asyncio.wrap_future(self._commit.submit(records))
        except RecordError as error:
            raise _RefusedError(400, str(error)) from error
        except SpoolFullError as error:
            log_event("records refused", path=path, error=str(error))
            raise _RefusedError(503, "the spool is full, try again later") from error
        except OSError as error:
            log_event("records refused", path=path, error=str(error))
            raise _RefusedError(503, "the records could not be written, try again later") from error

    async def _receipt(self, results: Sequence[Parsed], kind: Kind, path: str) -> Response:
        if any(result.rejected for result in results):
            await asyncio.to_thread(self._set_aside, results, kind, path)
        return _receipt(results)

    def _set_aside(self, results: Sequence[Parsed], kind: Kind, path: str) -> None:
        for result in results:
            try:
                if result.rejected:
                    self._services.reject(result.rejected, source=f"http {path}", model=result.model, kind=kind)
            except OSError as error:  # the client is told of them all the same
                log_event("dead letters could not be kept", path=path, error=str(error))


def _format(request: Request) -> BodyFormat:
    given = request.headers.get("content-type", "")
    body_format = FORMATS.get(given.partition(";")[0].strip().lower())
    if body_format is None:
        raise _RefusedError(415, f"expected application/json or application/x-ndjson, got {given[:100] or 'no type'!r}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _RefusedError(415, "compressed bodies are not taken")
    return body_format


def _receipt(results: Sequence[Parsed]) -> Response:
    rejected = sorted((row for result in results for row in result.rejected), key=lambda row: row.line)
    accepted = sum(result.accepted for result in results)
    if not accepted and not rejected:
        return problem(400, "no records in the body")
    content: dict[str, Any] = {
        "accepted": accepted,
        "rejected": len(rejected),
        "errors": [
            {"line": row.line, "reason": row.reason.value, "message": row.message}
            for row in rejected[:MOST_ERRORS_SHOWN]
        ],
    }
    if accepted:
        status = 202
    else:
        status = 404 if all(row.reason is RejectReason.UNKNOWN_MODEL for row in rejected) else 422
        content["detail"] = "no record was taken"
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
