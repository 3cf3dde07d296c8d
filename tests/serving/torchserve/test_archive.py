"""Archives: what is in them, which version is taken, and what is refused."""

import json
import zipfile
from pathlib import Path

import pytest

from monitor.errors import OperatorError
from serving.torchserve.archive import archive_bundle
from tests.serving.bundles import make_bundle


def test_an_archive_holds_programs_manifest_handler_and_capture_settings(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "animals")
    made = archive_bundle(tmp_path / "animals", tmp_path / "store", {"sample": 0.5})
    assert made == tmp_path / "store" / "animals.mar"
    with zipfile.ZipFile(made) as archive:
        assert set(archive.namelist()) == {
            "MAR-INF/MANIFEST.json",
            "manifest.json",
            "model.ts.pt",
            "preprocess.ts.pt",
            "trueup_handler.py",
            "trueup.json",
        }
        assert json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]["modelVersion"] == "v1"
        assert archive.read("model.ts.pt") == (bundle / "model.ts.pt").read_bytes()
        assert json.loads(archive.read("trueup.json")) == {"sample": 0.5}


def test_an_archive_is_replaced_by_that_of_the_newest_version(tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals", version="v1")
    archive_bundle(tmp_path / "animals", tmp_path / "store")
    make_bundle(tmp_path / "animals", version="v2")
    made = archive_bundle(tmp_path / "animals", tmp_path / "store")
    with zipfile.ZipFile(made) as archive:
        assert json.loads(archive.read("manifest.json"))["version"] == "v2"
        assert "trueup.json" not in archive.namelist()
    assert list((tmp_path / "store").iterdir()) == [made]


def test_paths_may_hold_what_the_archiver_would_take_for_a_pattern(tmp_path: Path) -> None:
    odd = tmp_path / "a,b [1] * c:d"
    make_bundle(odd / "animals")
    assert archive_bundle(odd / "animals", odd / "store").is_file()


def test_a_folder_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"no bundle here, its manifest is missing"):
        archive_bundle(tmp_path, tmp_path / "store")


def test_a_changed_program_is_not_archived(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "animals")
    (bundle / "preprocess.ts.pt").write_bytes(b"other")
    with pytest.raises(OperatorError, match=r"preprocess\.ts\.pt: a file of the bundle has changed"):
        archive_bundle(bundle, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_bad_capture_settings_are_not_packed(tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals")
    with pytest.raises(OperatorError, match=r"^trueup\.json: unknown key 'smaple'"):
        archive_bundle(tmp_path / "animals", tmp_path / "store", {"smaple": 0.5})


def test_a_name_that_torchserve_does_not_take_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals", name="an/imal")
    with pytest.raises(OperatorError, match=r"^model 'an/imal': TorchServe does not take this model name .*letters"):
        archive_bundle(tmp_path / "animals", tmp_path / "store")
