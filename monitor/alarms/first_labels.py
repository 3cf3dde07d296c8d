"""Evidence batches: predictions whose first label was ingested together, each prediction once for ever.

What lives here: finding them in the `matched` table. What must not: evidence, profiles, the state.

A commit to `matched` carries an ingest sequence. A row of it brings a first label if no row of an earlier sequence has
the same version and id; so a correction brings none, nor does a repeat of a prediction whose label was used before, nor
a row that was appended twice by a cycle that was killed in between. Nothing has to be remembered for it: the log says
it, after a restart and in a replay alike. Repeats are recognised within a day of event time, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from monitor.engines.local import event_times
from monitor.log.tables import SEQUENCE, ModelLog
from monitor.matching import CHUNK_ROWS, REPEAT_HORIZON_SECONDS
from monitor.records import FEATURE_PREFIX, SEGMENT_PREFIX
from monitor.windows import MICROSECONDS


def first_labels(log: ModelLog, *, after: int, until: int) -> Iterator[tuple[str, pa.Table]]:
    """(version, its rows of `matched` that bring a first label) of the sequences in (after, until], batch by batch.

    A row may still be there more than once within one batch (a label and its correction that came together): the caller
    takes one row per prediction as everywhere, which is then its first label.
    """
    for low, high in _stretches(log, after, until):
        rows = log.read("matched", _columns(log), after=low, until=high)
        if rows is None:
            continue
        for version in sorted(pc.unique(rows.column("version")).to_pylist()):
            mine = rows.filter(pc.equal(rows.column("version"), version))
            fresh = mine.filter(pc.invert(pc.is_in(mine.column("prediction_id"), value_set=_known(log, mine, low))))
            if fresh.num_rows:
                yield version, fresh


def _columns(log: ModelLog) -> list[str]:
    """What an outcome is made of; features that may lie beside it are left unread."""
    known = log.schema("matched")
    names = [] if known is None else known.names
    return [name for name in names if not name.startswith((FEATURE_PREFIX, SEGMENT_PREFIX))]


def _stretches(log: ModelLog, after: int, until: int) -> list[tuple[int, int]]:
    """Stretches (low, high] of sequences that hold about CHUNK_ROWS rows each, whole sequences only."""
    counts: dict[int, int] = {}
    for batch in log.scan("matched", [SEQUENCE], after=after, until=until):
        for item in pc.value_counts(batch.column(SEQUENCE)).to_pylist():
            counts[item["values"]] = counts.get(item["values"], 0) + item["counts"]
    stretches: list[tuple[int, int]] = []
    low, rows = after, 0
    for sequence in sorted(counts):
        rows += counts[sequence]
        if rows >= CHUNK_ROWS:
            stretches.append((low, sequence))
            low, rows = sequence, 0
    return [*stretches, (low, until)] if rows else stretches


def _known(log: ModelLog, rows: pa.Table, until: int) -> pa.Array:
    """Ids among these rows (of one version) that had a label by sequence `until`."""
    wanted = pc.unique(rows.column("prediction_id"))
    reach, times = round(REPEAT_HORIZON_SECONDS * MICROSECONDS), event_times(rows)
    found = [pa.array([], pa.string())]
    for batch in log.scan(
        "matched",
        ["prediction_id"],
        until=until,
        start=int(times.min()) - reach,
        end=int(times.max()) + reach + 1,
        versions=[rows.column("version")[0].as_py()],
    ):
        ids = batch.column("prediction_id")
        found.append(ids.filter(pc.is_in(ids, value_set=wanted)))
    return pa.concat_arrays(found)
