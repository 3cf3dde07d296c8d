"""The settings of a capture: who overrides whom, and every fault at once."""

import json
from pathlib import Path

import pytest

from monitor.errors import OperatorError
from serving.capture_config import CaptureConfig, from_environment, parse_capture_config, read_capture_config


def written(path: Path, **content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_the_environment_overrides_the_archive_key_by_key(tmp_path: Path) -> None:
    packed = written(tmp_path / "trueup.json", spool="/packed", segments={"region": "X-Region"}, sample=0.5)
    given = written(tmp_path / "given.json", sample=0.1, columns={"exclude": ["embedding"], "hash": ["region"]})
    assert from_environment(packed, {}) == CaptureConfig(Path("/packed"), {"region": "X-Region"}, 0.5)
    environment = {"TRUEUP_CAPTURE": str(given), "TRUEUP_SPOOL": "/elsewhere"}
    assert from_environment(packed, environment) == CaptureConfig(
        Path("/elsewhere"), {"region": "X-Region"}, 0.1, ("embedding",), ("region",)
    )


def test_without_a_spool_nothing_is_logged(tmp_path: Path) -> None:
    packed = written(tmp_path / "trueup.json", spool="/packed")
    assert from_environment(tmp_path / "none.json", {}).settings(None) is None
    assert from_environment(packed, {"TRUEUP_SPOOL": ""}).settings(None) is None
    settings = from_environment(packed, {}).settings("a key of some length")
    assert settings is not None
    assert settings.spool == Path("/packed")


def test_every_fault_is_named_at_once() -> None:
    content = {
        "spol": 1,
        "spool": 3,
        "sample": 2,
        "segments": ["region"],
        "columns": {"exclude": "a", "drop": []},
    }
    with pytest.raises(OperatorError) as caught:
        parse_capture_config(content, "trueup.json")
    message = str(caught.value)
    assert message.startswith("trueup.json: unknown key 'spol' (known: spool, segments, sample, columns)")
    for words in (
        "unknown key columns.drop",
        "spool is a path, not 3",
        "sample is a number from 0 to 1, not 2",
        'segments maps names to headers, as {"region": "X-Region"}',
        "columns.exclude is a list of names",
    ):
        assert words in message


@pytest.mark.parametrize("content", ["", "[]", "nonsense"])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "capture.json"
    path.write_text(content)
    with pytest.raises(OperatorError, match=r"capture\.json: (the capture settings cannot be read|.*a JSON object)"):
        read_capture_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"gone\.json: the capture settings cannot be read"):
        read_capture_config(tmp_path / "gone.json")
