"""Labelled images from a folder of classes, a manifest, or a named set.

What lives here: where images and labels come from, the identity of an item and of a data set. What must not: decoding
(`serving.image_decoding`), splits, tensors, models.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from monitor.errors import OperatorError, RecordError, TrueupError
from monitor.records import Task
from serving.image_decoding import decode_image

Pixels = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_NAMED_AT_MOST = 5


@dataclass(frozen=True, eq=False)
class Item:
    """One labelled image.

    `identity` is the SHA-256 (hex) of its content, so that copies of an image under other names stay in one split.
    `label` is a class name or a number; `location` names the image in messages and is its file if `pixels` is None.
    """

    identity: str
    label: str | float
    location: str
    pixels: Pixels | None = None

    def image(self) -> Pixels:
        """The image as uint8 [3, H, W], RGB. Raises RecordError if it cannot be decoded."""
        return _decode(_content(self.location), self.location) if self.pixels is None else self.pixels


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images with a name; `classes` in the order of the model's outputs, empty for regression."""

    name: str
    task: Task
    classes: tuple[str, ...]
    items: tuple[Item, ...]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) over all identities and labels, whatever the order and the names of the files."""
        lines = sorted(f"{item.identity}\t{item.label}\n" for item in self.items)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def open_dataset(
    source: str,
    *,
    task: Task | None = None,
    classes: Sequence[str] = (),
    skip_unreadable: bool = False,
    on_item: Callable[[int], None] = lambda _: None,
) -> Dataset:
    """Open a named set (`digits`, `digits-rotation`), a folder of class subfolders, or a manifest (path, label).

    Every file is read and decoded once here, so that a broken one is named before training starts; `on_item` is
    called with 1 for each. `classes` fixes the order of the outputs; without it class names are sorted as text.
    Raises OperatorError or RecordError; unreadable images are left out only with `skip_unreadable`.
    """
    from finetune.digits import PACKAGED_SETS

    path = Path(source)
    if source in PACKAGED_SETS:
        dataset = PACKAGED_SETS[source]()
        if task not in (None, dataset.task):
            raise OperatorError("a named set has its own task", where=source, expected=dataset.task, got=task)
        return dataset
    if path.is_dir():
        if task == "regression":
            raise OperatorError(
                "a folder of classes has no numbers to learn", where=source, hint="Use a manifest with path and label."
            )
        rows, name = _folder_rows(path), path.resolve().name
    elif path.is_file():
        rows, name = _manifest_rows(path, task or "classification"), path.stem
    else:
        known = ", ".join(sorted(PACKAGED_SETS))
        raise OperatorError("no such data", where=source, expected=f"a folder, a CSV or Parquet manifest, or {known}")
    names = _class_names(rows, classes, source) if task != "regression" else ()
    items = _read(rows, source, skip_unreadable, on_item)
    return Dataset(name, task or "classification", names, items)


def _folder_rows(folder: Path) -> list[tuple[Path, str | float]]:
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise RecordError("a data folder holds one subfolder per class", where=str(folder), got="no subfolders")
    rows: list[tuple[Path, str | float]] = []
    for entry in classes:
        images = sorted(file for file in entry.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        if not images:
            raise RecordError(
                "a class folder holds no images",
                where=str(entry),
                expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}",
                hint="Add images or remove the folder.",
            )
        rows += [(image, entry.name) for image in images]
    return rows


def _manifest_rows(manifest: Path, task: Task) -> list[tuple[Path, str | float]]:
    table = _manifest_table(manifest)
    missing = [name for name in ("path", "label") if name not in table.column_names]
    if missing:
        raise RecordError(
            f"a manifest needs the columns path and label, {' and '.join(missing)} missing",
            where=str(manifest),
            got=", ".join(table.column_names),
        )
    # Paths count from the manifest's own folder, so that the two can be moved together.
    paths = [manifest.parent / str(path) for path in table.column("path").to_pylist()]
    labels = [_label(value, task, manifest, row) for row, value in enumerate(table.column("label").to_pylist(), 1)]
    absent = [str(path) for path in paths if not path.is_file()]
    if absent:
        raise RecordError(
            f"{len(absent)} of {len(paths)} files do not exist", where=str(manifest), got=_first(absent, ", ")
        )
    return list(zip(paths, labels, strict=True))


def _manifest_table(manifest: Path) -> pa.Table:
    try:
        if manifest.suffix.lower() == ".parquet":
            table = pyarrow.parquet.read_table(manifest)
            kinds = {name: table.schema.field(name).type for name in table.column_names}
            texts = [name for name, kind in kinds.items() if pa.types.is_dictionary(kind) or pa.types.is_integer(kind)]
            for name in texts:
                table = table.set_column(table.column_names.index(name), name, pc.cast(table.column(name), pa.string()))
            return table
        # Everything as text: a class called "01" must not become the number 1.
        text = pyarrow.csv.ConvertOptions(column_types={"path": pa.string(), "label": pa.string()})
        return pyarrow.csv.read_csv(manifest, convert_options=text)
    except pa.ArrowException as error:
        raise RecordError("not a readable CSV or Parquet manifest", where=str(manifest), got=str(error)) from error


def _label(value: object, task: Task, manifest: Path, row: int) -> str | float:
    where = f"{manifest}, row {row}"
    if value is None or value == "":
        raise RecordError("the label is empty", where=where)
    if task == "classification":
        return str(value)
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RecordError("the label is not a finite number", where=where, expected="a number", got=repr(value))
    return number


def _class_names(rows: Sequence[tuple[Path, str | float]], classes: Sequence[str], where: str) -> tuple[str, ...]:
    found = sorted({str(label) for _, label in rows})
    unknown = sorted(set(found) - set(classes)) if classes else []
    if unknown:
        raise RecordError("labels of unknown classes", where=where, expected=", ".join(classes), got=_first(unknown))
    names = tuple(classes) or tuple(found)
    if len(names) < 2:
        raise RecordError("classification needs at least 2 classes", where=where, got=", ".join(names) or "none")
    return names


def _read(
    rows: Sequence[tuple[Path, str | float]], where: str, skip_unreadable: bool, on_item: Callable[[int], None]
) -> tuple[Item, ...]:
    items: list[Item] = []
    broken: list[str] = []
    with ThreadPoolExecutor() as pool:
        for outcome in pool.map(_read_one, *zip(*rows, strict=True)):
            on_item(1)
            if isinstance(outcome, Item):
                items.append(outcome)
            else:
                broken.append(str(outcome))
    if broken and not skip_unreadable:
        raise RecordError(
            f"{len(broken)} of {len(rows)} images are unreadable",
            where=where,
            got=_first(broken, "; "),
            hint="Repair or remove them, or leave them out with --skip-unreadable.",
        )
    return tuple(items)


def _read_one(path: Path, label: str | float) -> Item | TrueupError:
    try:
        content = _content(str(path))
        _decode(content, str(path))
    except RecordError as error:
        return error
    return Item(hashlib.sha256(content).hexdigest(), label, str(path))


def _decode(content: bytes, location: str) -> Pixels:
    # The server's own decoder, so that training and serving see the same pixels; here for every format Pillow reads.
    return decode_image(content, location, formats=None)


def _content(location: str) -> bytes:
    try:
        return Path(location).read_bytes()
    except OSError as error:
        raise RecordError("not a readable file", where=location, got=str(error)) from error


def _first(names: Iterable[str], separator: str = ", ") -> str:
    known = list(names)
    more = f"{separator}and {len(known) - _NAMED_AT_MOST} more" if len(known) > _NAMED_AT_MOST else ""
    return separator.join(known[:_NAMED_AT_MOST]) + more
