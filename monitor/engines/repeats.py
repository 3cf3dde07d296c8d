"""What is new about the rows of a pane: first labels, corrections, repeats and contradictions.

What lives here: counting, by comparing the rows up to an ingest sequence with all of them. What must not: the choice of
winners (that is `local`), state.

The counts do not depend on the order in which the rows came, nor on how many cycles they came in: each is the
difference of a function of a set of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitor.engines.identifiers import IdentifierSet, Integers, one_array, repeated
from monitor.engines.local import event_times
from monitor.engines.winners import content_codes
from monitor.log.tables import SEQUENCE


@dataclass
class Tally:
    """What a cycle found among the rows newer than `predictions_after` and `matched_after`.

    `identical` and `conflicting` repeats of predictions; by id, whether its first label came (`matched`), how many
    other values than one it was given (`corrected`), and how many labels contradict another of the same time
    (`contradicted`, a part of the corrected or of the older ones). Labels count once however many versions answered.
    """

    predictions_after: int
    matched_after: int
    identical: int = 0
    conflicting: int = 0
    matched: IdentifierSet = field(default_factory=IdentifierSet)
    corrected: dict[str, int] = field(default_factory=dict)
    contradicted: dict[str, int] = field(default_factory=dict)

    def note_predictions(self, rows: pa.Table) -> None:
        """Count repeats among predictions of one version and pane."""
        found = repeated(rows.column("prediction_id"))
        if found is None:
            return
        again = rows.take(pa.array(found[0]))
        contents = content_codes(again, again.column_names)
        before = _sequences(again) <= self.predictions_after
        for sign, group in ((1, np.ones_like(before)), (-1, before)):
            distinct = _distinct(found[1][group], contents[group], rows.num_rows)
            self.conflicting += sign * int((distinct - (distinct > 0)).sum())
            self.identical += sign * int(group.sum() - distinct.sum())

    def note_labels(self, rows: pa.Table) -> None:
        """Count what the labels of one version's matched rows in one pane say that was not known."""
        if not rows.num_rows:
            return
        fresh = _sequences(rows) > self.matched_after
        if not fresh.any():
            return
        found = repeated(rows.column("prediction_id"))
        if found is not None:
            self._note_repeated(rows.take(pa.array(found[0])), found[1], fresh[found[0]])
            fresh[found[0]] = False
        ids = one_array(rows.column("prediction_id"))
        self.matched.add(ids if fresh.all() else ids.filter(pa.array(fresh)))

    def _note_repeated(self, rows: pa.Table, codes: Integers, fresh: npt.NDArray[np.bool_]) -> None:
        ids = one_array(rows.column("prediction_id"))
        size = int(codes.max()) + 1
        representative = np.zeros(size, dtype=np.int64)
        representative[codes] = np.arange(codes.size)
        is_new = np.bincount(codes[fresh], minlength=size) > 0
        was_known = np.bincount(codes[~fresh], minlength=size) > 0
        self.matched.add(ids.take(pa.array(representative[is_new & ~was_known])))
        labels = content_codes(rows, ["label"])
        times = np.unique(event_times(rows, "label_time"), return_inverse=True)[1]
        earlier = _changes(codes[~fresh], labels[~fresh], times[~fresh], size)
        for target, count, old in zip(
            (self.corrected, self.contradicted), _changes(codes, labels, times, size), earlier, strict=True
        ):
            for code in np.flatnonzero(is_new & (count > old)).tolist():
                name = ids[int(representative[code])].as_py()
                target[name] = max(int(count[code] - old[code]), target.get(name, 0))


def _changes(codes: Integers, labels: Integers, times: Integers, size: int) -> tuple[Integers, Integers]:
    """By code: values beside the first, labels that contradict another of the same time; both only grow with the rows.

    Labels that say the same of the same time are one.
    """
    both = labels * (times.max(initial=0) + 1) + times
    values = _distinct(codes, labels, size)
    contradictions = _distinct(codes, np.unique(both, return_inverse=True)[1], size) - _distinct(codes, times, size)
    return np.maximum(values - 1, 0), contradictions


def _distinct(codes: Integers, values: Integers, size: int) -> Integers:
    """How many different values (≥ 0) each code has, int64 [size]."""
    stride = values.max(initial=0) + 1
    return np.bincount(np.unique(codes * stride + values) // stride, minlength=size)


def _sequences(rows: pa.Table) -> Integers:
    return np.asarray(rows.column(SEQUENCE).to_numpy(), dtype=np.int64)
