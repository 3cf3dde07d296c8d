"""The detectors that the benchmark sets beside ours are the ones users know."""

import numpy as np

from benchmarks.classical_detectors import Adwin, PageHinkley


def test_adwin_detects_where_it_is_published_to() -> None:
    np.random.seed(12345)
    stream = np.concatenate((np.random.randint(2, size=1000), np.random.randint(8, size=1000)))
    detector = Adwin()
    assert [i for i, value in enumerate(stream) if detector.update(float(value))] == [1023]


def test_adwin_is_quiet_on_a_constant_risk_and_finds_its_doubling() -> None:
    rng, detector = np.random.default_rng(1), Adwin()
    assert not any(detector.update(float(value)) for value in rng.random(10_000) < 0.1)
    found = [detector.update(float(value)) for value in rng.random(3000) < 0.2]
    assert any(found)
    assert found.index(True) < 1000


def test_page_hinkley_is_quiet_on_a_constant_risk_and_finds_its_doubling() -> None:
    rng, detector = np.random.default_rng(1), PageHinkley()
    assert not any(detector.update(float(value)) for value in rng.random(10_000) < 0.1)
    found = [detector.update(float(value)) for value in rng.random(3000) < 0.2]
    assert any(found)
    assert found.index(True) < 1500
