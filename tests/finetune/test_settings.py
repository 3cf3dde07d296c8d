"""Options come from flags and a YAML file, and every fault is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.settings import make_settings
from monitor.errors import OperatorError


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    return file


def test_flags_win_over_the_file_and_the_rest_is_default(tmp_path):
    file = write(tmp_path, "data: digits\nout: models/digits\nepochs: 3\nclasses: ['1', '0']\nholdout: 0.1\n")
    settings = make_settings(file, {"epochs": 7})
    assert (settings.data, settings.out, settings.epochs) == ("digits", Path("models/digits"), 7)
    assert (settings.classes, settings.holdout, settings.validation) == (("1", "0"), 0.1, None)
    assert (settings.arch, settings.weights) == ("efficientnet_lite0", "default")


def test_every_fault_is_listed_at_once(tmp_path):
    file = write(tmp_path, "data: digits\nepochs: 0\nlearning_rat: 0.1\ntask: clustering\n")
    with pytest.raises(OperatorError) as caught:
        make_settings(file, {})
    message = str(caught.value)
    assert message.startswith(f"{file}: 4 faults: ")
    assert "out is missing" in message
    assert "learning_rat is not an option" in message
    assert "epochs: Input should be greater than or equal to 1, got 0" in message
    assert "task: Input should be 'classification' or 'regression', got 'clustering'" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- digits\n", r"run\.yaml: a configuration maps names to values \(got list\)"),
        ("data: [\n", r"run\.yaml: not a readable YAML file"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, text, message):
    with pytest.raises(OperatorError, match=message):
        make_settings(write(tmp_path, text), {})


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OperatorError, match=r"absent\.yaml: not a readable YAML file"):
        make_settings(tmp_path / "absent.yaml", {})
