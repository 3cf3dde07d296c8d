"""The picture of a score: well-formed, self-contained, and showing what the numbers say."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from monitor.tuning.injection import Kind
from monitor.tuning.picture import draw
from monitor.tuning.report import Tuning, tune
from monitor.tuning.scoring import Score, Trials
from tests.tuning.traffic import ACCURACY, PSI, past, reference, settings

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def tuned() -> Tuning:
    trials = Trials({Kind.MEAN_SHIFT: (0.3, 1.0), Kind.DAILY_CYCLE: (0.25,)}, trials=2, horizon=3)
    stream = past(16, drift={5: {"shift": 1.0}, 7: {}})
    return tune(stream, settings(PSI, ACCURACY), reference(), trials, suggest=True, resample=False)


def texts(svg: str) -> list[str]:
    return [item.text or "" for item in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def titles(svg: str) -> list[str]:
    return [item.text or "" for item in ElementTree.fromstring(svg).iter(f"{SVG}title")]


def test_it_is_one_file_that_needs_no_other(tuned: Tuning) -> None:
    svg = draw(tuned)
    assert ElementTree.fromstring(svg).tag == f"{SVG}svg"
    assert set(re.findall(r"https?://[^\"]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "<script" not in svg
    assert draw(tuned) == svg


def test_it_shows_the_past_its_alarms_and_a_curve_of_every_drift(tuned: Tuning) -> None:
    svg = draw(tuned)
    written = " ".join(texts(svg))
    assert "16 observations of 1d" in written
    for name in (PSI.metric, "accuracy", "mean shift (sd)", "daily cycle (sd, no harm)", "checks proposed"):
        assert name in written
    found = {item.size: item for item in tuned.score.power if item.kind is Kind.MEAN_SHIFT and item.setup == "as set"}
    assert f"as set: {found[1.0].found} of 2 found, median after 1d" in titles(svg)
    assert any(text.startswith(f"{PSI.metric} fired 2026-09-27 until 2026-09-29") for text in titles(svg))
    windows = [text for text in titles(svg) if text.startswith("window to")]
    assert len(windows) == 32


def test_all_shapes_are_on_the_sheet(tuned: Tuning) -> None:
    root = ElementTree.fromstring(draw(tuned))
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.get("cx", "-1")) <= width
        assert 0 <= float(circle.get("cy", "-1")) <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("y", "-1")) <= height


def test_where_no_drift_was_tried_it_says_why(tuned: Tuning) -> None:
    score = tuned.score
    none = Score(score.quiet, (), {"mean_shift": "alarms fire < all & always"}, 0)
    assert "No drift was tried: alarms fire < all & always." in texts(draw(replace(tuned, score=none)))
