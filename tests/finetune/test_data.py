"""Images and labels come in as they are on disk, and what is wrong with them is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from finetune.data import open_dataset
from finetune.digits import LARGEST_ANGLE, rotation
from monitor.errors import OperatorError, RecordError
from tests.finetune.images import coloured, write_folder, write_manifest


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_a_folder_gives_its_classes_sorted_and_every_pixel(tmp_path):
    dataset = open_dataset(str(write_folder(tmp_path / "colours", per_class=3)))
    assert (dataset.name, dataset.task, dataset.classes) == ("colours", "classification", ("blue", "green", "red"))
    assert [item.label for item in dataset.items] == ["blue"] * 3 + ["green"] * 3 + ["red"] * 3
    np.testing.assert_array_equal(dataset.items[4].image(), coloured("green", 1).transpose(2, 0, 1))


def test_the_same_content_has_the_same_hash_wherever_it_lies(tmp_path):
    one = open_dataset(str(write_folder(tmp_path / "one", per_class=3)))
    other = write_folder(tmp_path / "other", per_class=3)
    (other / "red" / "000.png").rename(other / "red" / "renamed.png")
    assert open_dataset(str(other)).sha256 == one.sha256
    (other / "red" / "renamed.png").unlink()
    assert open_dataset(str(other)).sha256 != one.sha256


def test_a_csv_manifest_keeps_labels_that_look_like_numbers_as_text(tmp_path):
    write_folder(tmp_path / "colours", per_class=1)
    manifest = tmp_path / "set.csv"
    manifest.write_text("path,label\ncolours/red/000.png,01\ncolours/blue/000.png,1\n")
    dataset = open_dataset(str(manifest))
    assert dataset.classes == ("01", "1")
    assert [item.label for item in dataset.items] == ["01", "1"]


def test_a_parquet_manifest_of_whole_numbers_gives_class_names_or_targets(tmp_path):
    write_folder(tmp_path / "colours", per_class=1)
    manifest = tmp_path / "set.parquet"
    paths = ["colours/red/000.png", "colours/blue/000.png"]
    pq.write_table(pa.table({"path": paths, "label": pa.array([7, 12])}), manifest)
    assert open_dataset(str(manifest)).classes == ("12", "7")
    targets = open_dataset(str(manifest), task="regression")
    assert targets.classes == ()
    assert [item.label for item in targets.items] == [7.0, 12.0]


def test_given_classes_fix_the_order_and_refuse_others(tmp_path):
    folder = str(write_folder(tmp_path / "colours", per_class=1))
    assert open_dataset(folder, classes=["red", "blue", "green", "grey"]).classes == ("red", "blue", "green", "grey")
    with pytest.raises(RecordError, match=r"labels of unknown classes \(expected red, blue, got green\)"):
        open_dataset(folder, classes=["red", "blue"])


@pytest.mark.parametrize("form", ["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_every_kind_of_image_file_is_read_as_rgb(form, tmp_path):
    folder = write_folder(tmp_path / "colours", per_class=1)
    (folder / "red" / f"other.{form.lower()}").write_bytes(encoded(Image.new("RGB", (5, 4), (200, 30, 10)), form))
    dataset = open_dataset(str(folder))
    image = next(item for item in dataset.items if "other" in item.location).image()
    assert (image.dtype, image.shape) == (np.uint8, (3, 4, 5))
    np.testing.assert_allclose(image[:, 2, 2], [200, 30, 10], atol=6)


def test_an_image_of_16_bits_is_refused_instead_of_clipped(tmp_path):
    folder = write_folder(tmp_path / "colours", per_class=1)
    deep = encoded(Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)))
    (folder / "red" / "scan.png").write_bytes(deep)
    with pytest.raises(RecordError, match=r"scan\.png: more than 8 bits per channel"):
        open_dataset(str(folder))


def test_an_empty_class_folder_is_named(tmp_path):
    folder = write_folder(tmp_path / "colours", per_class=1)
    (folder / "white").mkdir()
    (folder / "white" / "notes.txt").write_text("soon")
    with pytest.raises(RecordError, match=r"colours/white: a class folder holds no images .*remove the folder"):
        open_dataset(str(folder))


def test_a_folder_without_class_folders_is_refused(tmp_path):
    with pytest.raises(RecordError, match="a data folder holds one subfolder per class"):
        open_dataset(str(tmp_path))


def test_one_class_is_too_few(tmp_path):
    folder = tmp_path / "colours"
    (folder / "red").mkdir(parents=True)
    Image.fromarray(coloured("red", 0)).save(folder / "red" / "0.png")
    with pytest.raises(RecordError, match=r"at least 2 classes \(got red\)"):
        open_dataset(str(folder))


def test_unreadable_images_are_named_and_can_be_left_out(tmp_path):
    folder = write_folder(tmp_path / "colours", per_class=2)
    (folder / "red" / "broken.png").write_bytes(b"not an image")
    whole = (folder / "red" / "000.png").read_bytes()
    (folder / "red" / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"2 of 8 images are unreadable .*broken\.png.*cut\.png.*--skip-unreadable"):
        open_dataset(str(folder))
    kept = open_dataset(str(folder), skip_unreadable=True)
    assert len(kept.items) == 6


def test_a_manifest_with_a_missing_file_names_it(tmp_path):
    manifest = write_manifest(tmp_path / "set", per_class=2)
    (manifest.parent / "red-1.png").unlink()
    with pytest.raises(RecordError, match=r"brightness\.csv: 1 of 6 files do not exist .*red-1\.png"):
        open_dataset(str(manifest), task="regression")


def test_a_manifest_without_the_columns_names_what_it_has(tmp_path):
    manifest = tmp_path / "set.csv"
    manifest.write_text("file,label\na.png,1\n")
    with pytest.raises(RecordError, match=r"needs the columns path and label, path missing \(got file, label\)"):
        open_dataset(str(manifest))


@pytest.mark.parametrize(
    ("label", "message"), [("", "row 2: the label is empty"), ("warm", "row 2: the label is not a finite number")]
)
def test_a_label_that_is_no_number_is_named_with_its_row(tmp_path, label, message):
    manifest = write_manifest(tmp_path / "set", per_class=1)
    lines = manifest.read_text().splitlines()
    lines[2] = lines[2].split(",")[0] + "," + label
    manifest.write_text("\n".join(lines))
    with pytest.raises(RecordError, match=message):
        open_dataset(str(manifest), task="regression")


def test_a_file_that_is_no_manifest_is_refused(tmp_path):
    (tmp_path / "set.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(RecordError, match="not a readable CSV or Parquet manifest"):
        open_dataset(str(tmp_path / "set.parquet"))


def test_data_that_is_nowhere_is_refused_with_the_named_sets():
    with pytest.raises(OperatorError, match=r"no such data \(expected a folder, .*digits, digits-rotation\)"):
        open_dataset("digitz")


def test_a_regression_on_class_folders_is_refused(tmp_path):
    with pytest.raises(OperatorError, match="a folder of classes has no numbers to learn"):
        open_dataset(str(write_folder(tmp_path / "colours", per_class=1)), task="regression")


def test_the_packaged_digits_are_those_of_scikit_learn():
    dataset = open_dataset("digits")
    assert [int(item.label) for item in dataset.items] == load_digits().target.tolist()
    image = dataset.items[0].image()
    assert (image.dtype, image.shape) == (np.uint8, (3, 32, 32))
    grey = Image.fromarray(np.round(load_digits().images[0] * 255 / 16).astype(np.uint8))
    np.testing.assert_array_equal(image[1], np.asarray(grey.resize((32, 32), Image.Resampling.BICUBIC)))


def test_rotated_digits_are_turned_by_their_label():
    plain, turned = open_dataset("digits"), open_dataset("digits-rotation")
    angles = np.array([item.label for item in turned.items])
    assert turned.task == "regression"
    assert np.abs(angles).max() <= LARGEST_ANGLE
    # Uniform on [-45, 45]: standard deviation 90 / sqrt(12) = 25.98, mean 0 within 4 standard errors.
    assert angles.std() == pytest.approx(25.98, rel=0.05)
    assert abs(angles.mean()) < 4 * 25.98 / len(angles) ** 0.5
    index = int(np.argmax(angles))
    upright = Image.fromarray(plain.items[index].image()[0])
    expected = upright.rotate(angles[index], resample=Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(turned.items[index].image()[0], np.asarray(expected))
    assert rotation(plain.items[index].identity) == angles[index]


def test_a_named_set_refuses_a_task_that_is_not_its_own():
    with pytest.raises(OperatorError, match=r"digits: a named set has its own task \(expected classification"):
        open_dataset("digits", task="regression")


def test_a_file_that_vanishes_after_reading_is_named(tmp_path):
    dataset = open_dataset(str(write_folder(tmp_path / "colours", per_class=1)))
    Path(dataset.items[0].location).unlink()
    with pytest.raises(RecordError, match=r"blue/000\.png: not a readable file"):
        dataset.items[0].image()
