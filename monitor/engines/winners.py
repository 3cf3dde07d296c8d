"""One row per id: which of repeated predictions, and which of their labels, a pane takes.

What lives here: the order of repeats (docs/semantics.md), rows of another pane's winner, comparison of contents. What
must not: reading the log, counting of repeats (`repeats`).

Whole columns are compared; a digest is made only of rows that lie in one moment and differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.engines.identifiers import Integers, one_array, repeated
from monitor.engines.local import event_times
from monitor.log.tables import BOOKKEEPING
from monitor.records import FEATURE_PREFIX, PROBABILITY_PREFIX, SEGMENT_PREFIX

# So many labels of one id that say different things count among those that come together: where one id stands for many
# predictions and many labels, each with each would be their product.
MOST_LABELS = 16
_NAN = np.float64("nan").view(np.int64)


def unique_predictions(rows: pa.Table, superseded: dict[str, int] | None = None) -> pa.Table:
    """One row per prediction id: the smallest (event_time, hashes of output, of segments and of all).

    Losers elsewhere are dropped.

    `rows` are of one version, in any order. `superseded` holds the winning event time (µs) of ids repeated in other
    panes.
    """
    rows = drop_superseded(rows, superseded)
    found = repeated(rows.column("prediction_id"))
    if found is None:
        return rows
    rivals = _Rivals(rows, *found)
    rivals.keep_earliest("event_time")
    rivals.keep_content(output_columns(rows))
    # Matched rows have them too: a prediction and its outcome must be of one segment.
    rivals.keep_segments()
    rivals.keep_content(rows.column_names)
    return _keep(rows, found[0], rivals.first())


def unique_outcomes(rows: pa.Table, superseded: dict[str, int] | None = None) -> pa.Table:
    """One row per prediction id of matched rows: the winning prediction with its newest label.

    The prediction is chosen as `unique_predictions` does (event time, hashes of output, of segments and of what else
    there is), then the label with the largest (label_time, hash of label).
    """
    rows = drop_superseded(rows, superseded)
    found = repeated(rows.column("prediction_id"))
    if found is None:
        return rows
    rivals = _Rivals(rows, *found)
    rivals.keep_earliest("event_time")
    rivals.keep_content(output_columns(rows))
    rivals.keep_segments()
    rivals.keep_content([name for name in rows.column_names if name.startswith(FEATURE_PREFIX)])
    rivals.keep_latest("label_time")
    rivals.keep_content(["label"], largest=True)
    return _keep(rows, found[0], rivals.first())


def crowded_labels(
    ids: pa.Array, labels: pa.Array | pa.ChunkedArray, times: Integers
) -> tuple[npt.NDArray[np.bool_], int] | None:
    """(which labels count, how many others would say something else); None if no id has over `MOST_LABELS`.

    `times` (µs) are those of the labels. Of such an id the newest count, of labels that say the same of the same time
    one.
    """
    found = repeated(ids)
    if found is None or np.bincount(found[1]).max() <= MOST_LABELS:
        return None
    rows, codes = found
    crowded = np.flatnonzero((np.bincount(codes) > MOST_LABELS)[codes])
    rows, codes = rows[crowded], codes[crowded]
    values = content_codes(pa.table({"label": labels}).take(pa.array(rows)), ["label"])
    order = np.lexsort((values, -times[rows], codes))
    rows, codes, values, moments = rows[order], codes[order], values[order], times[rows[order]]
    is_other = np.append(True, (np.diff(codes) != 0) | (np.diff(moments) != 0) | (np.diff(values) != 0))
    others = np.flatnonzero(is_other)
    starts, group = _groups(codes[others])
    is_newest = np.arange(others.size) - starts[group] < MOST_LABELS
    counts = np.ones(len(ids), dtype=bool)
    counts[rows] = False
    counts[rows[others[is_newest]]] = True
    return counts, int((~is_newest).sum())


class _Rivals:
    """Rows that claim the same ids, of which more and more are out of the running."""

    def __init__(self, rows: pa.Table, positions: Integers, codes: Integers) -> None:
        order = np.argsort(codes, kind="stable")
        self._positions, self._codes = positions[order], codes[order]
        self._rows = rows.take(pa.array(self._positions))

    def keep_earliest(self, column: str) -> None:
        self._narrow(event_times(self._rows, column))

    def keep_latest(self, column: str) -> None:
        self._narrow(-event_times(self._rows, column))

    def keep_segments(self) -> None:
        """Only rows of the smallest digest of segments, and of those without any only where no other is."""
        columns = [name for name in self._rows.column_names if name.startswith(SEGMENT_PREFIX)]
        # Rows that were matched before segments were written down say nothing of theirs.
        unknown = np.ones(self._rows.num_rows, dtype=np.int64)
        for name in columns:
            unknown[np.asarray(one_array(self._rows.column(name)).is_valid())] = 0
        self._narrow(unknown)
        self.keep_content(columns)

    def keep_content(self, columns: Sequence[str], *, largest: bool = False) -> None:
        """Only rows of the smallest digest of these columns."""
        if not columns:
            return
        starts, group = _groups(self._codes)
        first = starts[group]
        differs = np.zeros(group.size, dtype=bool)
        for name in _sent(columns):
            values = _values(one_array(self._rows.column(name)))
            differs |= values != values[first]
        contested = np.flatnonzero(np.isin(group, np.unique(group[differs])))
        if not contested.size:
            return
        digests = content_hashes(self._rows.take(pa.array(contested)), columns)
        place = {digest: number for number, digest in enumerate(sorted(set(digests), reverse=largest))}
        rank = np.zeros(group.size, dtype=np.int64)
        rank[contested] = [place[digest] for digest in digests]
        self._narrow(rank)

    def first(self) -> Integers:
        """The rows that won; of identical ones the first."""
        return self._positions[_groups(self._codes)[0]]

    def _narrow(self, values: Integers) -> None:
        starts, group = _groups(self._codes)
        kept = values == np.minimum.reduceat(values, starts)[group]
        if not kept.all():
            self._positions, self._codes = self._positions[kept], self._codes[kept]
            self._rows = self._rows.filter(pa.array(kept))


def _groups(codes: Integers) -> tuple[Integers, Integers]:
    """(where each code begins, number of the code of every row) of sorted codes."""
    begins = np.append(True, codes[1:] != codes[:-1])
    return np.flatnonzero(begins), np.cumsum(begins) - 1


def drop_superseded(rows: pa.Table, superseded: dict[str, int] | None) -> pa.Table:
    """`rows` without those whose id has an earlier prediction, whose event time (µs) is in `superseded`."""
    if not superseded or not rows.num_rows:
        return rows
    index = pc.index_in(one_array(rows.column("prediction_id")), value_set=pa.array(list(superseded), pa.string()))
    known = index.fill_null(-1).to_numpy(zero_copy_only=False)
    winners = np.fromiter(superseded.values(), dtype=np.int64, count=len(superseded))
    lost = (known >= 0) & (winners[known] < event_times(rows))
    return rows.filter(pa.array(~lost)) if lost.any() else rows


def output_columns(rows: pa.Table) -> list[str]:
    """The columns of a prediction's answer."""
    return [name for name in rows.column_names if name == "prediction" or name.startswith(PROBABILITY_PREFIX)]


def content_codes(rows: pa.Table, columns: Sequence[str]) -> Integers:
    """A number for every row, the same where and only where `content_hashes` of these columns is."""
    codes = np.zeros(rows.num_rows, dtype=np.int64)
    for name in _sent(columns):
        values = np.unique(_values(one_array(rows.column(name))), return_inverse=True)[1]
        codes = np.unique(codes * (values.max(initial=0) + 1) + values, return_inverse=True)[1]
    return codes


def content_hashes(rows: pa.Table, columns: Sequence[str]) -> list[bytes]:
    """A digest of every row over these columns, as the producer sent them."""
    values = [rows.column(name).to_pylist() for name in _sent(columns)]
    return [hashlib.blake2b(repr(row).encode(), digest_size=16).digest() for row in zip(*values, strict=True)]


def _sent(columns: Sequence[str]) -> list[str]:
    """What the producer sent, not our bookkeeping."""
    return sorted(name for name in columns if name not in BOOKKEEPING)


def _values(column: pa.Array) -> Integers:
    """A number for every value, the same where their `repr` is: 0.0 is not -0.0, NaN is NaN, null is none of them."""
    if pa.types.is_floating(column.type):
        numbers = np.asarray(column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False), np.float64)
        bits = np.where(np.isnan(numbers), _NAN, numbers.view(np.int64))
        # No number is NaN and has other bits than NaN.
        bits[np.asarray(column.is_null().to_numpy(zero_copy_only=False))] = _NAN + 1
        return bits
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    indices = column.dictionary_encode().indices.fill_null(-1)
    return np.asarray(indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _keep(rows: pa.Table, rivals: Integers, winners: Integers) -> pa.Table:
    keep: npt.NDArray[np.bool_] = np.ones(rows.num_rows, dtype=bool)
    keep[rivals] = False
    keep[winners] = True
    return rows.filter(pa.array(keep))
