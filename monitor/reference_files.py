"""A reference out of a file of labelled predictions, by the usual names of its columns.

What lives here: what kind of model such a file is of, and its rows as the log would hold them. What must not: how a
reference is built or encoded, how files are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import RecordError
from monitor.log import values
from monitor.log.conversion import Chunk, Converter
from monitor.log.files import read_parts
from monitor.log.json_rows import Row, chunk_of
from monitor.log.roles import SourceRules
from monitor.profiles.codec import load_reference
from monitor.profiles.model_profile import Reference, build_reference
from monitor.records import PROBABILITY_PREFIX, ModelSchema

_RECORDS = frozenset({".csv", ".ndjson", ".jsonl", ".json", ".parquet", ".pq", ".arrow", ".feather", ".ipc"})
# Columns of predictions that are no features, wherever they stand.
NO_FEATURES = frozenset({"label", "label_time"})
Tick = Callable[[int], None]
_START = pa.scalar(0, pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def _quiet(rows: int) -> None:
    """Tell nobody."""


def read_reference(
    path: Path,
    model: str,
    column_map: Mapping[str, str],
    segments: tuple[str, ...] = (),
    *,
    tick: Tick = _quiet,
) -> Reference:
    """The reference that a file holds, or one built from a file of labelled predictions.

    `segments`: columns that tell rows apart, where the file has them. Such a file needs `label` and `prediction` or
    `p_<class>`; it may lack ids and times. Raises RecordError where it cannot be one. `tick` is told the rows of every
    part that was read.
    """
    if not _holds_records(path):
        return load_reference(path)
    schema = infer_schema(path, model, column_map, tick=tick)
    tables: list[pa.Table] = []
    for chunk in _chunks(path, schema):
        tables.append(_labelled(chunk, schema, column_map, segments, path))
        tick(chunk.rows)
    rows = (
        pa.concat_tables([table for table in tables if table.num_rows], promote_options="default") if tables else None
    )
    if rows is None or not rows.num_rows:
        raise RecordError("no labelled prediction in the reference's file", where=str(path))
    return build_reference(schema, rows)


def infer_schema(path: Path, model: str, column_map: Mapping[str, str], *, tick: Tick = _quiet) -> ModelSchema:
    """Task and classes: `p_<class>` columns name them in order; else numbers mean regression, words classes."""
    rules = SourceRules(ModelSchema(model, "classification", ("0", "1")), column_map=column_map)
    found: set[str] = set()
    numeric = True
    for chunk in _chunks(path, rules.model):
        names = {column_map.get(name, name): name for name in chunk.columns}
        classes = tuple(name.removeprefix(PROBABILITY_PREFIX) for name in names if name.startswith(PROBABILITY_PREFIX))
        if classes:
            return ModelSchema(model, "classification", classes)
        tick(chunk.rows)
        for role in ("prediction", "label"):
            if role not in names:
                raise RecordError(
                    f"no column holds the {role}",
                    where=str(path),
                    expected="columns label and prediction or p_<class>",
                    got=f"columns {', '.join(sorted(names))}",
                    hint=f"Name it: --map {role}=COLUMN",
                )
            given = chunk.columns[names[role]].drop_null()
            if pa.types.is_string(given.type) and chunk.textual:
                numeric = numeric and values.parsed_numbers(given).null_count == 0
            else:
                numeric = numeric and (pa.types.is_integer(given.type) or pa.types.is_floating(given.type))
            found |= set(map(str, pc.unique(given).to_pylist()))
    if numeric:
        return ModelSchema(model, "regression")
    return ModelSchema(model, "classification", tuple(sorted(found)))


def _chunks(path: Path, schema: ModelSchema) -> Iterator[Chunk]:
    for part in read_parts(path):
        if isinstance(part, Chunk):
            yield part
        elif part and isinstance(part[0], Row):
            yield chunk_of([row for row in part if isinstance(row, Row)], schema, lambda _: None)


def _labelled(
    chunk: Chunk, schema: ModelSchema, column_map: Mapping[str, str], segments: tuple[str, ...], path: Path
) -> pa.Table:
    """The rows of a chunk that are a prediction and have a label."""
    mapped = {column_map.get(name, name): array for name, array in chunk.columns.items()}
    ids = pa.array([str(place) for place in range(chunk.rows)])
    columns = {**mapped, "prediction_id": ids, "event_time": pa.repeat(_START, chunk.rows)}
    columns.setdefault("version", pa.repeat("1", chunk.rows))
    columns.pop("model", None)
    whole = replace(chunk, columns=columns)
    own = tuple(name for name in segments if name in columns)
    rules = SourceRules(schema, own, excluded=NO_FEATURES, version="1")
    predictions = Converter("prediction", rules, now=0, where=str(path)).convert(whole).batch
    truth: dict[str, pa.Array] = {name: columns[name] for name in ("prediction_id", "label") if name in columns}
    labels = (
        Converter("label", SourceRules(schema), now=0, where=str(path)).convert(replace(chunk, columns=truth)).batch
    )
    if predictions is None or labels is None:
        return pa.table({})
    # By place and not by a join, which would bring the rows in another order each time.
    rows = pa.Table.from_batches([predictions])
    place = pc.index_in(rows.column("prediction_id"), value_set=labels.column("prediction_id"))
    rows = rows.append_column("label", labels.column("label").take(place.combine_chunks()))
    return rows.filter(pc.is_valid(rows.column("label")))


def _holds_records(path: Path) -> bool:
    return bool(_RECORDS & {ending.lower() for ending in path.suffixes[-2:]})
