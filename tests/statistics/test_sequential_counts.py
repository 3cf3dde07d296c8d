"""What the detectors remember: bounded, exact after a restart, and never continued against another reference."""

import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import DefectError, OperatorError
from monitor.statistics.drift_model import drift_model
from monitor.statistics.evidence_counts import (
    LIVE_STARTS,
    CellReference,
    EvidenceCounts,
    by_column,
    decode_counts,
    encode_counts,
    no_evidence,
    observe,
)
from monitor.statistics.labelled_risk import risk_changed, risk_exceeds, risk_reference
from monitor.statistics.sequential import composite_evidence, early_warning

REFERENCE = CellReference(("x", "kind"), (4, 3), (3, 0), np.array([100, 90, 110, 5, 200, 100, 5]))
MODEL = drift_model(REFERENCE)
OBSERVATIONS = st.lists(
    st.tuples(st.lists(st.integers(0, 300), min_size=7, max_size=7), st.booleans()), min_size=1, max_size=40
)


def consume(state: EvidenceCounts, observations: list) -> EvidenceCounts:
    for counts, opens in observations:
        state = observe(state, np.array(counts), opens=opens or state.observations == 0)
    return state


class TestRestart:
    @settings(max_examples=60, deadline=None)
    @given(observations=OBSERVATIONS, data=st.data())
    def test_a_detector_restarted_anywhere_goes_on_bit_for_bit(self, observations: list, data: st.DataObject) -> None:
        cut = data.draw(st.integers(0, len(observations)))
        whole = consume(no_evidence(REFERENCE), observations)
        resumed = consume(
            decode_counts(encode_counts(consume(no_evidence(REFERENCE), observations[:cut]))), observations[cut:]
        )
        assert encode_counts(resumed) == encode_counts(whole)
        assert resumed == whole
        assert composite_evidence(resumed, MODEL) == composite_evidence(whole, MODEL)
        assert early_warning(resumed, MODEL) == early_warning(whole, MODEL)

    @settings(max_examples=30, deadline=None)
    @given(batches=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=20))
    def test_a_risk_detector_restarted_anywhere_goes_on_bit_for_bit(self, batches: list) -> None:
        ref = risk_reference(["error"], [50], [500])
        whole = resumed = no_evidence(ref)
        for batch in batches:
            whole = observe(whole, np.array(batch))
            resumed = observe(decode_counts(encode_counts(resumed)), np.array(batch))
        assert risk_changed(resumed, ref) == risk_changed(whole, ref)
        assert risk_exceeds(resumed, ref) == risk_exceeds(whole, ref)

    @settings(max_examples=30, deadline=None)
    @given(observations=OBSERVATIONS)
    def test_batches_of_one_observation_add_up_whatever_their_split(self, observations: list) -> None:
        counts = [np.array(values) for values, _ in observations]
        together = observe(no_evidence(REFERENCE), np.sum(counts, axis=0))
        apart = observe(no_evidence(REFERENCE), counts[0])
        for later in counts[1:]:
            apart = observe(apart, later, opens=False)
        assert apart == together
        assert hash(apart) == hash(together)

    def test_states_that_differ_are_not_equal(self) -> None:
        one = observe(no_evidence(REFERENCE), np.ones(7, dtype=int))
        assert one != no_evidence(REFERENCE)
        assert one != "one"


class TestLiveStarts:
    def test_starts_stay_bounded_and_near_to_any_moment_of_the_past(self) -> None:
        ref = CellReference(("x",), (2,), (0,), np.array([1, 1]))
        state, most = no_evidence(ref), 0
        for now in range(1, 5001):
            state = observe(state, np.array([1, 0]))
            most = max(most, len(state.starts))
            if now in (100, 1000, 5000):
                for moment in range(1, now + 1):
                    nearest = min(abs(start - moment) for start in state.starts)
                    assert nearest <= max((now - moment) // 2, 1)
        assert most <= LIVE_STARTS
        assert state.starts == tuple(sorted(set(state.starts)))

    def test_each_start_holds_exactly_the_rows_since_it(self) -> None:
        rng = np.random.default_rng(0)
        state, history = no_evidence(REFERENCE), []
        for _ in range(70):
            history.append(rng.integers(0, 20, size=7))
            state = observe(state, history[-1])
        assert len(state.starts) > 10
        for start, since in zip(state.starts, state.since, strict=True):
            assert since.tolist() == np.sum(history[start - 1 :], axis=0).tolist()
        assert state.total.tolist() == np.sum(history, axis=0).tolist()

    def test_the_cap_holds_beyond_the_age_that_thinning_alone_bounds(self) -> None:
        now = 2**20 - 1
        unbounded = {
            start for bit in range(20) for start in range(2**bit, now + 1, 2**bit) if now - start < 4 * (start & -start)
        }
        starts = tuple(sorted(unbounded))
        assert len(starts) > LIVE_STARTS
        ref = CellReference(("x",), (2,), (0,), np.array([1, 1]))
        state = EvidenceCounts(ref.identity, now, starts, np.zeros((len(starts), 2), dtype=int), np.zeros(2, dtype=int))
        after = observe(state, np.array([1, 1]))
        assert len(after.starts) == LIVE_STARTS
        assert after.starts[-3:] == (now - 1, now, now + 1)

    def test_a_state_is_small(self) -> None:
        """25 columns of 11 cells after 5,000 observations: under 70 kB."""
        ref = CellReference(tuple(map(str, range(25))), (11,) * 25, (10,) * 25, np.ones(275, dtype=int))
        state = no_evidence(ref)
        for _ in range(5000):
            state = observe(state, np.ones(275, dtype=int))
        assert len(encode_counts(state)) < 70_000


def test_counts_of_panes_are_taken_apart_by_column() -> None:
    panes = np.arange(14).reshape(2, 7)
    x, kind = by_column(REFERENCE, panes)
    assert x.tolist() == [[0, 1, 2, 3], [7, 8, 9, 10]]
    assert kind.tolist() == [[4, 5, 6], [11, 12, 13]]


class TestRefusals:
    def test_counts_are_integers_of_the_right_shape_and_not_negative(self) -> None:
        state = no_evidence(REFERENCE)
        with pytest.raises(DefectError, match="observed counts of another shape"):
            observe(state, np.ones(6, dtype=int))
        with pytest.raises(DefectError, match=r"observed counts of another shape .*float64"):
            observe(state, np.ones(7))
        with pytest.raises(DefectError, match=r"observed counts below zero .*-1"):
            observe(state, np.array([1, 1, 1, 1, 1, 1, -1]))
        with pytest.raises(DefectError, match="no observation is open"):
            observe(state, np.ones(7, dtype=int), opens=False)

    def test_a_state_cannot_be_changed_from_outside(self) -> None:
        counts = np.ones(7, dtype=int)
        state = observe(no_evidence(REFERENCE), counts)
        counts[0] = 99
        assert state.total[0] == 1
        with pytest.raises(ValueError, match="read-only"):
            state.since[0, 0] = 5

    def test_references_that_cannot_be_watched_are_refused(self) -> None:
        with pytest.raises(DefectError, match="each of two cells or more"):
            CellReference(("x",), (1,), (0,), np.array([5]))
        with pytest.raises(DefectError, match="columns y: a reference without rows"):
            CellReference(("x", "y"), (2, 2), (0, 0), np.array([1, 1, 0, 0]))
        with pytest.raises(DefectError, match="more ordered cells than cells"):
            CellReference(("x",), (2,), (3,), np.array([1, 1]))

    def test_the_identity_tells_references_apart(self) -> None:
        other = CellReference(("x", "kind"), (4, 3), (3, 0), np.array([100, 90, 110, 6, 200, 100, 5]))
        same = CellReference(("x", "kind"), (4, 3), (3, 0), REFERENCE.counts.copy())
        assert same.identity == REFERENCE.identity
        assert other.identity != REFERENCE.identity

    def test_bytes_that_are_damaged_foreign_or_newer_are_refused(self) -> None:
        data = encode_counts(observe(no_evidence(REFERENCE), np.ones(7, dtype=int)))
        with pytest.raises(OperatorError, match="not a trueup evidence state"):
            decode_counts(b"something else entirely")
        with pytest.raises(OperatorError, match="an evidence state is damaged"):
            decode_counts(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
        with pytest.raises(OperatorError, match="an evidence state is damaged"):
            decode_counts(data[:-1])
        newer = data[:4] + struct.pack("<H", 2) + data[6:-4]
        with pytest.raises(OperatorError, match=r"of a newer trueup .*got 2"):
            decode_counts(newer + struct.pack("<I", zlib.crc32(newer)))

    def test_the_format_is_what_was_released(self) -> None:
        """Evidence of format 1 written down by hand: it must stay readable."""
        header = json.dumps(
            {"cells": 2, "observations": 3, "reference": "r", "starts": [2, 3]}, sort_keys=True
        ).encode()
        body = b"TUEC" + struct.pack("<HI", 1, len(header)) + header + struct.pack("<6q", 1, 2, 3, 4, 5, 6)
        state = decode_counts(body + struct.pack("<I", zlib.crc32(body)))
        assert (state.reference, state.observations, state.starts) == ("r", 3, (2, 3))
        assert state.since.tolist() == [[1, 2], [3, 4]]
        assert state.total.tolist() == [5, 6]
