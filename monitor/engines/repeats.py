"""What is new about the rows of a pane: first labels, corrections, repeats and contradictions.

What lives here: counting, by comparing the rows up to an ingest sequence with all of them. What must not: the choice of
winners (that is `local`), state.

The counts do not depend on the order in which the rows came, nor on how many cycles they came in: each is the
difference of a function of a set of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from monitor.engines.local import content_hashes, event_times, split_repeats
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
    matched: set[str] = field(default_factory=set)
    corrected: dict[str, int] = field(default_factory=dict)
    contradicted: dict[str, int] = field(default_factory=dict)

    def note_predictions(self, rows: pa.Table) -> None:
        """Count repeats among predictions of one version and pane."""
        split = split_repeats(rows)
        if split is None:
            return
        repeated = rows.take(pa.array(split[1]))
        contents = content_hashes(repeated, repeated.column_names)
        identifiers = repeated.column("prediction_id").to_pylist()
        now: dict[str, list[bytes]] = {}
        before: dict[str, list[bytes]] = {}
        for name, content, sequence in zip(identifiers, contents, _sequences(repeated), strict=True):
            now.setdefault(name, []).append(content)
            if sequence <= self.predictions_after:
                before.setdefault(name, []).append(content)
        for sign, groups in ((1, now), (-1, before)):
            self.conflicting += sign * sum(len(set(group)) - 1 for group in groups.values())
            self.identical += sign * sum(len(group) - len(set(group)) for group in groups.values())

    def note_labels(self, rows: pa.Table) -> None:
        """Count what the labels of one version's matched rows in one pane say that was not known."""
        if not rows.num_rows:
            return
        fresh = pc.greater(rows.column(SEQUENCE), self.matched_after)
        new = set(rows.column("prediction_id").filter(fresh).to_pylist())
        if not new:
            return
        split = split_repeats(rows)
        if split is None:
            self.matched |= new
            return
        repeated = rows.take(pa.array(split[1]))
        now: dict[str, set[tuple[int, bytes]]] = {}
        before: dict[str, set[tuple[int, bytes]]] = {}
        labels = zip(event_times(repeated, "label_time").tolist(), content_hashes(repeated, ["label"]), strict=True)
        identifiers = repeated.column("prediction_id").to_pylist()
        for name, label, sequence in zip(identifiers, labels, _sequences(repeated), strict=True):
            if name in new:
                now.setdefault(name, set()).add(label)
                if sequence <= self.matched_after:
                    before.setdefault(name, set()).add(label)
        self.matched |= new - set(before)
        for name, known in now.items():
            earlier = _changes(before.get(name, set()))
            for target, count, old in zip((self.corrected, self.contradicted), _changes(known), earlier, strict=True):
                if count > old:
                    target[name] = max(count - old, target.get(name, 0))


def _changes(labels: set[tuple[int, bytes]]) -> tuple[int, int]:
    """(values beside the first, labels that contradict another of the same time); both only grow with the set."""
    values, times = {label for _, label in labels}, {time for time, _ in labels}
    return max(len(values) - 1, 0), len(labels) - len(times)


def _sequences(rows: pa.Table) -> list[int]:
    return list(rows.column(SEQUENCE).to_pylist())
