"""What becomes of the records of many requests at once: converted together where they are alike, written in one go.

What lives here: the handling of one round of requests. What must not: HTTP, threads.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import pyarrow as pa

from monitor.errors import RecordError
from monitor.log.conversion import Parsed
from monitor.log.sources import Alike, convert_alike, frames

# The records of one request: few and alike, or converted already.
Records = Alike | list[Parsed]


class Intake:
    """Handles a round: `write` makes batches durable; `now` (microseconds) is the time of labels that name none."""

    def __init__(self, write: Callable[[list[pa.RecordBatch]], None], now: Callable[[], int]) -> None:
        self._write = write
        self._now = now

    def handle(self, requests: Sequence[Records]) -> list[list[Parsed] | Exception]:
        """For each request what came of it, durable on return; RecordError for one whose columns make no sense.

        Raises what `write` raises: then no request of the round was acknowledged.
        """
        outcomes: dict[int, list[Parsed] | Exception] = {}
        together: dict[Hashable, list[int]] = {}
        for place, request in enumerate(requests):
            if isinstance(request, Alike):
                together.setdefault((request.kind, request.rules.model, request.shape), []).append(place)
            else:
                outcomes[place] = request
        now = self._now()
        for places in together.values():
            outcomes |= _convert([(place, requests[place]) for place in places], now)
        converted = [outcomes[place] for place in range(len(requests))]
        batches = [
            part.batch
            for outcome in converted
            if not isinstance(outcome, Exception)
            for part in outcome
            if part.batch is not None
        ]
        if batches:
            self._write(frames(batches))
        return converted


def _convert(requests: Sequence[tuple[int, Records]], now: int) -> dict[int, list[Parsed] | Exception]:
    parts = [request for _, request in requests if isinstance(request, Alike)]
    try:
        results = convert_alike(parts, now=now)
    except RecordError as error:  # it lies in their common columns, so it is the error of each
        return {place: error for place, _ in requests}
    return {place: [result] for (place, _), result in zip(requests, results, strict=True)}
