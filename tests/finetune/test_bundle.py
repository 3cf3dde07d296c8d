"""A bundle appears whole, never changes unnoticed, and never replaces another."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from finetune.bundle import FILES, load_bundle, version_at, version_folder, write_manifest, writing
from monitor.errors import OperatorError

NAMES = [*FILES["model"].values(), *FILES["preprocess"].values(), FILES["weights"], FILES["reference"]]
FACTS = {"name": "colours", "version": "v1", "task": "classification", "classes": ["red", "blue"]}


def write_bundle(folder):
    with writing(folder) as draft:
        for name in NAMES:
            (draft / name).write_text(f"content of {name}")
            (draft / name).chmod(0o600)
        write_manifest(draft, FACTS)
    return folder


def test_a_bundle_is_written_and_read_back(tmp_path):
    bundle = load_bundle(write_bundle(tmp_path / "models" / "v1"))
    assert (bundle.name, bundle.version, bundle.classes) == ("colours", "v1", ("red", "blue"))
    assert bundle.manifest["format"] == 1
    assert bundle.manifest["files"]["model"] == {"torchscript": "model.ts.pt", "export": "model.pt2"}
    assert [entry.name for entry in (tmp_path / "models").iterdir()] == ["v1"]


def test_a_server_of_another_user_can_read_every_file(tmp_path):
    folder = write_bundle(tmp_path / "v1")
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}


def test_nobody_sees_a_bundle_before_it_is_whole_and_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"), writing(tmp_path / "v1") as draft:
        (draft / "model.pt2").write_text("half")
        assert draft.name.startswith(".")
        assert not (tmp_path / "v1").exists()
        raise RuntimeError("power cut")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_version_is_refused_before_and_after_the_work(tmp_path):
    folder = write_bundle(tmp_path / "v1")
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(OperatorError, match=r"v1: this version exists already\. Choose another --version"):
        version_folder(tmp_path, "v1")
    with pytest.raises(OperatorError, match="this version exists already"):
        write_bundle(tmp_path / "v1")
    assert (folder / "manifest.json").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["v1"]


@pytest.mark.parametrize("version", ["../v1", "a/b", "", ".hidden", "v 1", "x" * 65])
def test_a_version_that_is_no_folder_name_is_refused(version, tmp_path):
    with pytest.raises(OperatorError, match="a version names a folder"):
        version_folder(tmp_path, version)


def test_versions_are_times_in_utc_that_sort_as_text():
    now = datetime(2026, 11, 24, 16, 30, tzinfo=timezone(timedelta(hours=2)))
    assert version_at(now) == "20261124T143000Z"
    assert version_at(now) < version_at(datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_file_is_named(name, tmp_path):
    folder = write_bundle(tmp_path / "v1")
    (folder / name).write_text("tampered")
    with pytest.raises(OperatorError, match=rf"{name}: a file of the bundle has changed .*expected SHA-256"):
        load_bundle(folder)


def test_a_missing_file_or_hash_is_named(tmp_path):
    folder = write_bundle(tmp_path / "v1")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]["model.pt2"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OperatorError, match=r"model\.pt2: the manifest has no hash of this file"):
        load_bundle(folder)
    other = write_bundle(tmp_path / "v2")
    (other / "weights.safetensors").unlink()
    with pytest.raises(OperatorError, match=r"weights\.safetensors: a file of the bundle is missing"):
        load_bundle(other)


@pytest.mark.parametrize("content", [None, "not json", "[]", "{}"])
def test_what_is_no_bundle_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(OperatorError, match="not a bundle"):
        load_bundle(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    folder = write_bundle(tmp_path / "v1")
    manifest = json.loads((folder / "manifest.json").read_text()) | {"format": 2}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OperatorError, match=r"another format \(expected format 1, got format 2\)"):
        load_bundle(folder)
