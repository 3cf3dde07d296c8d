"""How segments and their sums map to the container of `codec`.

What lives here: fields to plain structures of numbers and arrays, and back. What must not: bytes, any computation. What
has no segment has no content, so that it is encoded as it was before there were any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.profiles.segment_outcomes import SegmentOutcomes
from monitor.profiles.segments import SegmentEstimates, SegmentInputs, SegmentSpec

Content = dict[str, Any]
Integers = npt.NDArray[np.int64]
Specs = tuple[SegmentSpec, ...]

_ESTIMATES = ("rows", "predicted", "hits", "mass", "sums")


def specs_content(specs: Specs) -> Content:
    """Plain structure of a reference's segments."""
    return {"segments": [{"name": spec.name, "values": list(spec.values)} for spec in specs]} if specs else {}


def specs(content: Content) -> Specs:
    """The segments of a reference; without those that keep no value, which references once had and mean nothing."""
    return tuple(
        SegmentSpec(item["name"], tuple(item["values"])) for item in content.get("segments", ()) if item["values"]
    )


def inputs_content(segments: Mapping[str, SegmentInputs]) -> Content:
    """Plain structure of the inputs per segment of a profile."""
    made = {}
    for name, found in segments.items():
        made[name] = {"rows": found.rows, **_sparse(found.cells, found.counts)}
        if found.estimated is not None:
            made[name]["estimated"] = {field: getattr(found.estimated, field) for field in _ESTIMATES}
    return {"segments": made} if made else {}


def inputs(content: Content, specs: Specs) -> dict[str, SegmentInputs]:
    """The inputs per segment of a profile."""
    stored = content.get("segments", {})
    found = {}
    for spec in specs:
        own = stored.get(spec.name)
        if own is not None:
            estimated = SegmentEstimates(**own["estimated"]) if "estimated" in own else None
            found[spec.name] = SegmentInputs(spec, own["rows"], *_dense(own), estimated)
    return found


def outcomes_content(segments: Mapping[str, SegmentOutcomes]) -> Content:
    """Plain structure of the outcomes per segment."""
    made = {
        name: {
            "rows": np.stack((found.rows, found.unusable, found.scored)),
            "sums": found.sums,
            "calibration": found.calibration,
            **_sparse(found.cells, found.counts),
        }
        for name, found in segments.items()
    }
    return {"segments": made} if made else {}


def outcomes(content: Content, specs: Specs) -> dict[str, SegmentOutcomes]:
    """The outcomes per segment."""
    stored = content.get("segments", {})
    found = {}
    for spec in specs:
        own = stored.get(spec.name)
        if own is not None:
            rows, unusable, scored = own["rows"]
            sums, calibration = own["sums"], own["calibration"]
            found[spec.name] = SegmentOutcomes(spec, rows, unusable, scored, sums, calibration, *_dense(own))
    return found


def _sparse(cells: Integers, counts: Integers) -> Content:
    # Steps and counts are small where rows are few, and compress; large ones keep all their bits.
    fits = not counts.size or max(int(counts.max()), int(cells[-1])) < 2**32
    kind = np.uint32 if fits else np.int64
    return {"steps": np.diff(cells, prepend=0).astype(kind), "counts": counts.astype(kind)}


def _dense(content: Content) -> tuple[Integers, Integers]:
    return np.cumsum(content["steps"], dtype=np.int64), content["counts"].astype(np.int64)
