"""Plain files of rows, a model's or anybody's, as batches in the names and types that profiles know.

What lives here: what each column of a file is without a configuration to say it, and batches of any kind of file. What
must not: profiles, threads, statistics.

Every column is a feature but: `prediction` and `label`; `p_<class>` where there are two or more that sum to 1; and the
columns of a prediction record that say whose, when and how long (`prediction_id`, `version`, `event_time`, …).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitor.engines.output_values import class_names, likeliest, output_values, plain_names
from monitor.engines.plain_values import identifiers, moments, of_text, steady, text_kind
from monitor.errors import RecordError
from monitor.log.conversion import Chunk, Wanted
from monitor.log.files import read_parts
from monitor.log.json_rows import Row, chunk_of
from monitor.log.rejection import Rejected
from monitor.log.roles import INDEX_COLUMNS, check_names
from monitor.profiles.arrow_values import ColumnKind, column_kind
from monitor.profiles.columns import as_floats
from monitor.profiles.model_profile import Reference
from monitor.records import EMBEDDING, FEATURE_PREFIX, PROBABILITY_PREFIX, SEGMENT_PREFIX, ModelSchema, Task

# Rows of one batch: with 25 columns about 13 MB. Of a Parquet file with very many columns, fewer.
BATCH_ROWS = 1 << 16
_LEAST_BATCH_ROWS = 1 << 10
_BATCH_VALUES = 1 << 22
MAXIMUM_CLASSES = 1_000
ASIDE = frozenset({"prediction_id", "version", "event_time", "label_time", "latency_seconds", "request_id", EMBEDDING})
_NOWHERE = frozenset({"model", "source"}) | INDEX_COLUMNS
_OUTPUTS = ("prediction", "label")
_MOMENTS = ("event_time", "label_time")
_SUM_TOLERANCE, _MOST_ROUNDING = 1e-3, 0.05
_FLAGS, _TRUTH = ("0", "1"), ("false", "true")
_WANTED: Mapping[ColumnKind, Wanted] = {"numeric": "number", "boolean": "flag", "categorical": "text"}


class Unread:
    """Rows of a file that are no rows (broken JSON, too few values, no text), as of the longest pass over it.

    `rows` counts them, `first` says what was wrong with the first.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.first = ""

    def note(self, rows: int, rejected: Sequence[Rejected]) -> None:
        """That a pass has met these, `rows` with all before them."""
        self.first = self.first or rejected[0].message
        self.rows = max(self.rows, rows)


@dataclass(frozen=True)
class PlainFile:
    """A file and what its columns are: the name and kind that profiles know, by the file's own names."""

    path: Path
    schema: ModelSchema
    names: Mapping[str, str]
    kinds: Mapping[str, ColumnKind | None]
    is_text: bool
    # Whether the model's output and label are left as they are: what they mean is another file's to say.
    keeps_outputs: bool = False
    unread: Unread = field(default_factory=Unread, compare=False)
    # Columns, by the file's own names, that tell rows apart and are no features.
    segments: tuple[str, ...] = ()
    # Whether the columns called like probabilities are some; where they do not add up they are features.
    has_probabilities: bool = True

    @property
    def is_parquet(self) -> bool:
        """Whether row groups can be read apart from each other."""
        return _is_parquet(self.path)

    @cached_property
    def metadata(self) -> pq.FileMetaData:
        """What a Parquet file says of itself."""
        return pq.read_metadata(self.path)

    def batches(self, groups: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, or those of some row groups of a Parquet file, in the file's order."""
        if self.is_parquet:
            for batch in _parquet_batches(self, groups):
                yield self._named(batch)
            return
        known: dict[str, pa.DataType] = {}
        for columns, rows in _chunks(self.path, self.schema, self._wanted, self.unread):
            batch = self._named(_together(columns, rows))
            own = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield _together(steady(own, known), rows)

    def _wanted(self, name: str) -> Wanted | None:
        kind = self.kinds.get(name)
        return "name" if name in (*_OUTPUTS, "prediction_id", *self.segments) else _WANTED.get(kind) if kind else None

    def _named(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns: dict[str, pa.Array] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in self.names and (values := self._values(name, column)) is not None:
                columns[self.names[name]] = values
        outputs = self.schema.probability_columns if self.has_probabilities and "prediction" not in self.kinds else ()
        if outputs and columns.keys() >= set(outputs):
            columns["prediction"] = likeliest([columns[name] for name in outputs], self.schema.classes)
        return _together(columns, batch.num_rows)

    def _values(self, name: str, column: pa.Array) -> pa.Array | None:
        is_output = name in _OUTPUTS and not self.keeps_outputs
        if is_output and self.schema.task == "regression" and self.kinds.get(name) == "categorical":
            # Text of which there are too many kinds for classes: profiled as categories, judged by nobody.
            return column if name == "prediction" else None
        if is_output:
            return output_values(column, self.schema)
        if name == "prediction_id":
            return identifiers(column)
        if name in _MOMENTS:
            return moments(of_text(column, self.kinds.get(name), self.is_text))
        if name in self.segments:
            # 007 is another store than 7.
            return plain_names(column)
        return column if _has_types(self.path) else of_text(column, self.kinds.get(name), self.is_text)


def open_plain(
    path: Path,
    reference: Reference | None = None,
    task: Task | None = None,
    *,
    keeps_outputs: bool = False,
    unread: Unread | None = None,
    segments: Sequence[str] = (),
) -> PlainFile:
    """A file and what its columns are: by the reference where there is one, else by its first rows.

    `segments`: columns that tell rows apart, where no reference says it. Raises RecordError where the file cannot be
    read, has no columns or not those, or where two of them would have one name.
    """
    unread = unread or Unread()
    columns, is_text = _first_columns(path, unread, types_only=reference is not None)
    check_names(list(columns), str(path))
    if not columns:
        got = f"{unread.rows} that cannot be read, the first: {unread.first}" if unread.rows else None
        raise RecordError("no rows in the file", where=str(path), expected="a table with named columns", got=got)
    kinds = {name: _kind(column, is_text, _has_types(path)) for name, column in columns.items()}
    if reference is not None:
        schema = reference.schema
    else:
        schema = ModelSchema("", "regression") if keeps_outputs else _schema(path, columns, kinds, task)
    own = tuple(segments) if reference is None else tuple(spec.name for spec in reference.segments)
    for name in own if reference is None else ():
        if name not in columns or name in (*_OUTPUTS, "prediction_id"):
            got = f"columns {', '.join(sorted(columns))}"
            raise RecordError("no such column to tell rows apart by", where=str(path), expected=name, got=got)
    if reference is not None:
        # A reference without any says nothing of them.
        features = {FEATURE_PREFIX + name for name in schema.probability_columns}
        add_up = not any(spec.name in features for spec in reference.columns)
    else:
        scores = [columns[name] for name in schema.probability_columns if name in columns]
        add_up = len(scores) < len(schema.classes) or _sum_to_one(scores)
    names = _profiled_names(list(columns), schema, str(path), own, add_up)
    if reference is not None:
        known = {spec.name: spec.kind for spec in reference.columns}
        # What the reference took text for, it is.
        kinds |= {
            name: known[target]
            for name, target in names.items()
            if target in known and (is_text or (kinds[name] == "categorical" and known[target] == "timestamp"))
            if is_text or not _has_types(path)
        }
    return PlainFile(path, schema, names, kinds, is_text, keeps_outputs, unread, own, add_up)


def differing_kinds(file: PlainFile, reference: Reference) -> dict[str, tuple[ColumnKind, ColumnKind | None]]:
    """Columns whose kind is not the reference's, with both, by the name that profiles know."""
    found = {target: file.kinds.get(name) for name, target in file.names.items()}
    numeric = {"numeric", "boolean"}
    return {
        spec.name: (spec.kind, found[spec.name])
        for spec in reference.columns
        if spec.name in found
        and spec.name not in _OUTPUTS
        and found[spec.name] != spec.kind
        and not {spec.kind, found[spec.name]} <= numeric
    }


def appeared_columns(file: PlainFile, reference: Reference) -> dict[str, ColumnKind | None]:
    """Features that the reference lacks, with their kinds, by the name that profiles know."""
    known = {spec.name for spec in reference.columns}
    found = {target: file.kinds.get(name) for name, target in file.names.items()}
    return {name: kind for name, kind in found.items() if name.startswith(FEATURE_PREFIX) and name not in known}


def _has_types(path: Path) -> bool:
    """Whether text in a file is text; CSV has nothing else, and JSON has no times."""
    return path.suffix.lower() in (".parquet", ".pq", ".arrow", ".feather", ".ipc")


def _kind(column: pa.Array, is_text: bool, has_types: bool) -> ColumnKind | None:
    kind = column_kind(column.type)
    if is_text or (kind == "categorical" and not has_types and pa.types.is_string(column.type)):
        told = text_kind(column)
        return told if is_text or told == "timestamp" else kind
    return kind


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def _first_columns(path: Path, unread: Unread, *, types_only: bool) -> tuple[dict[str, pa.Array], bool]:
    """Columns with the first rows of a file, and whether everything in it is text.

    `types_only`: of a file that says the types of its columns no rows are read.
    """
    if _is_parquet(path):
        with _readable(path), pq.ParquetFile(path) as file:
            batch = pa.RecordBatch.from_pylist([], schema=file.schema_arrow)
            if not types_only:
                batch = next(file.iter_batches(batch_size=1_000), batch)
        return dict(zip(batch.schema.names, batch.columns, strict=True)), False
    for chunk in _raw_chunks(path, ModelSchema("", "regression"), lambda _: None, unread):
        return dict(chunk.columns), chunk.textual
    return {}, False


def _schema(
    path: Path, columns: Mapping[str, pa.Array], kinds: Mapping[str, ColumnKind | None], task: Task | None
) -> ModelSchema:
    name = path.name.split(".")[0]
    probabilities = [column for column in columns if column.startswith(PROBABILITY_PREFIX)]
    if task != "regression" and len(probabilities) > 1 and _sum_to_one([columns[column] for column in probabilities]):
        return ModelSchema(
            name, "classification", tuple(column.removeprefix(PROBABILITY_PREFIX) for column in probabilities)
        )
    outputs = [column for column in _OUTPUTS if column in columns]
    is_class = any(kinds[column] in ("categorical", "boolean") for column in outputs)
    are_numbers = "prediction" in outputs and all(kinds[column] == "numeric" for column in outputs)
    are_flags = are_numbers and _are_flags([columns[column] for column in outputs])
    if outputs and (task == "classification" or (task is None and (is_class or are_flags))):
        classes = _classes(path, outputs)
        if set(classes) <= set(_TRUTH):
            return ModelSchema(name, "classification", _TRUTH)
        if set(classes) <= {*_FLAGS, *_TRUTH} and (are_flags or not set(classes) <= set(_FLAGS)):
            return ModelSchema(name, "classification", _FLAGS)
        if are_flags and task is None:
            return ModelSchema(name, "regression")
        if len(classes) == 1:
            # A stretch of one class: the other one has only not been seen.
            classes = (*classes, f"not {classes[0]}")
        if 2 <= len(classes) <= MAXIMUM_CLASSES:
            return ModelSchema(name, "classification", classes)
        if task == "classification":
            expected = f"2 to {MAXIMUM_CLASSES} classes in {' and '.join(outputs)}"
            raise RecordError("not a classification", where=str(path), expected=expected, got=str(len(classes)))
    return ModelSchema(name, "regression")


def _are_flags(columns: Sequence[pa.Array]) -> bool:
    """Whether all that is there are zeros and ones: a classifier's, for who measures predicts something between."""
    numbers = [_as_numbers(column) for column in columns]
    known = [values[~np.isnan(values)] for values in numbers]
    return bool(known[0].size) and all(bool(np.isin(values, (0.0, 1.0)).all()) for values in known)


def _as_numbers(column: pa.Array) -> npt.NDArray[np.float64]:
    return as_floats(of_text(column, "numeric") if pa.types.is_string(column.type) else column)


def _sum_to_one(columns: Sequence[pa.Array]) -> bool:
    total = np.sum([_as_numbers(column) for column in columns], axis=0)
    total = total[np.isfinite(total)]
    # Two decimals of each are as many as people round to; with fewer a class of 0 has an infinite loss.
    tolerance = _SUM_TOLERANCE + min(0.005 * len(columns), _MOST_ROUNDING)
    return bool(total.size) and bool((np.abs(total - 1) < tolerance).all())


def _classes(path: Path, outputs: Sequence[str]) -> tuple[str, ...]:
    found: set[str] = set()
    if _is_parquet(path):
        with _readable(path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=list(outputs)):
                found |= _texts(batch.columns)
    else:
        for columns, _ in _chunks(path, ModelSchema("", "regression"), lambda _: "name", Unread()):
            found |= _texts([columns[name] for name in outputs if name in columns])
    return tuple(sorted(found))


def _texts(columns: Sequence[pa.Array]) -> set[str]:
    return {text for column in columns for text in pc.unique(class_names(column, ())).to_pylist() if text is not None}


def _profiled_names(
    columns: Sequence[str], schema: ModelSchema, where: str, segments: Sequence[str], has_probabilities: bool
) -> dict[str, str]:
    probabilities = set(schema.probability_columns) if has_probabilities else set()
    names: dict[str, str] = {}
    for name in columns:
        if name in segments:
            names[name] = SEGMENT_PREFIX + name
            continue
        if name in _NOWHERE:
            continue
        own = name in ASIDE or name in _OUTPUTS or name in probabilities or name.startswith(FEATURE_PREFIX)
        target = name if own else FEATURE_PREFIX + name
        if target in names.values():
            raise RecordError(f"two columns hold the feature {target.removeprefix(FEATURE_PREFIX)}", where=where)
        names[name] = target
    return names


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises RecordError for what Arrow says of a broken file."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecordError("the file cannot be read", where=str(path), got=reason.split("\n")[0][:200]) from error


def _parquet_batches(file: PlainFile, groups: Sequence[int] | None) -> Iterator[pa.RecordBatch]:
    wanted = set(file.names)
    with _readable(file.path), pq.ParquetFile(file.path, metadata=file.metadata) as plain:
        arrow = plain.schema_arrow
        leaves = {name for name in wanted if not pa.types.is_nested(arrow.field(name).type)}
        text = [name for name in leaves if pa.types.is_string(arrow.field(name).type) and name != "prediction_id"]
    # As dictionaries text is decoded four times as fast, and counted without being looked at.
    with (
        _readable(file.path),
        pq.ParquetFile(file.path, metadata=file.metadata, pre_buffer=False, read_dictionary=text) as opened,
    ):
        chosen = list(range(opened.num_row_groups)) if groups is None else list(groups)
        columns = [name for name in arrow.names if name in wanted]
        rows = max(_LEAST_BATCH_ROWS, min(BATCH_ROWS, _BATCH_VALUES // max(1, len(columns))))
        yield from opened.iter_batches(rows, row_groups=chosen, columns=columns, use_threads=groups is None)


def _raw_chunks(path: Path, schema: ModelSchema, wanted: object, unread: Unread) -> Iterator[Chunk]:
    rejected = 0
    for part in read_parts(path):
        if isinstance(part, Chunk):
            yield part
            continue
        bad = [item for item in part if isinstance(item, Rejected)]
        if bad:
            rejected += len(bad)
            unread.note(rejected, bad)
        rows = [row for row in part if isinstance(row, Row)]
        if rows:
            yield chunk_of(rows, schema, wanted)  # type: ignore[arg-type]


def _chunks(
    path: Path, schema: ModelSchema, wanted: object, unread: Unread
) -> Iterator[tuple[dict[str, pa.Array], int]]:
    """Columns of each chunk; one that came before and is not in this one is null throughout."""
    seen: dict[str, None] = {}
    for chunk in _raw_chunks(path, schema, wanted, unread):
        seen |= dict.fromkeys(chunk.columns)
        columns = {name: chunk.columns[name] if name in chunk.columns else pa.nulls(chunk.rows) for name in seen}
        yield columns, chunk.rows


def _together(columns: Mapping[str, pa.Array], rows: int) -> pa.RecordBatch:
    if not columns:
        # A batch without columns would forget how many rows it has.
        return pa.RecordBatch.from_arrays([pa.nulls(rows)], names=[""])
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def with_schema(file: PlainFile, schema: ModelSchema) -> PlainFile:
    """The same file as another model's, such as one with more classes."""
    own = _profiled_names(list(file.kinds), schema, str(file.path), file.segments, file.has_probabilities)
    return replace(file, schema=schema, names=own)
