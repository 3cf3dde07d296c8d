"""Reading bundles: what serving takes from a manifest, which version, and what is wrong with a bad one."""

import json
from pathlib import Path

import pytest

from monitor.errors import OperatorError
from serving.manifest import check_files, newest_version, read_manifest
from tests.serving.bundles import CLASSES, make_bundle, write_manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "animals")


def change(bundle: Path, **facts: object) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(content | facts))


def test_a_manifest_says_what_serving_needs(bundle: Path) -> None:
    model = read_manifest(bundle)
    assert (model.name, model.version, model.schema.task, model.schema.classes) == (
        "animals",
        "v1",
        "classification",
        CLASSES,
    )
    assert (model.preprocess_program, model.model_program) == ("preprocess.ts.pt", "model.ts.pt")
    assert (model.embedding_dimension, model.features) == (6, ("brightness", "contrast", "sharpness"))


def test_the_newest_version_is_the_one_made_last(tmp_path: Path, bundle: Path) -> None:
    older = make_bundle(tmp_path / "animals", version="v2")
    write_manifest(older, name="animals", version="v2", task="classification", classes=CLASSES, created="2025-12-31")
    (tmp_path / "animals" / ".v3.draft").mkdir()
    (tmp_path / "animals" / "notes").mkdir()
    assert newest_version(tmp_path / "animals") == bundle
    assert newest_version(older) == older


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_a_folder_without_a_bundle_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OperatorError, match=rf"{name}: no bundle here, its manifest is missing .*trueup finetune"):
        newest_version(tmp_path / name)
    with pytest.raises(OperatorError, match=rf"{name}: no bundle here, its manifest is missing .*trueup finetune"):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"format": 2}, "a bundle of another format .expected format 1, got format 2"),
        ({"classes": ["one"]}, "needs class names"),
        ({"classes": None}, "cannot be used"),
        ({"files": {}}, "cannot be used .got KeyError: 'preprocess'"),
        ({"embedding_dimension": "many"}, "cannot be used"),
    ],
    ids=str,
)
def test_a_bad_manifest_is_named_with_its_fault(bundle: Path, facts: dict[str, object], words: str) -> None:
    change(bundle, **facts)
    with pytest.raises(OperatorError, match=rf"manifest\.json: .*{words}"):
        read_manifest(bundle)


@pytest.mark.parametrize("content", ["", "[]", "{", "{}"])
def test_a_manifest_that_is_none_is_an_error(bundle: Path, content: str) -> None:
    (bundle / "manifest.json").write_text(content)
    with pytest.raises(OperatorError, match=r"manifest\.json: the manifest of a bundle cannot be used"):
        read_manifest(bundle)


def test_a_changed_or_missing_file_is_named(bundle: Path) -> None:
    model = read_manifest(bundle)
    check_files(bundle, model, ["model.ts.pt", "preprocess.ts.pt"])
    (bundle / "model.ts.pt").write_bytes(b"other")
    with pytest.raises(OperatorError, match=r"model\.ts\.pt: a file of the bundle has changed .*SHA-256"):
        check_files(bundle, model, ["preprocess.ts.pt", "model.ts.pt"])
    (bundle / "model.ts.pt").unlink()
    with pytest.raises(OperatorError, match=r"model\.ts\.pt: a file of the bundle is missing"):
        check_files(bundle, model, ["model.ts.pt"])
