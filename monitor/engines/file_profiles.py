"""Profiles and references of plain files, on all cores and in memory that does not grow with the rows.

What lives here: the order of passes over a file, threads, the sample that fixes cells, labels from a second file. What
must not: what a column is (`plain_files`), statistics.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.engines.freed import keep_freed
from monitor.engines.output_values import class_names, output_values
from monitor.engines.plain_files import (
    ASIDE,
    PlainFile,
    Unread,
    open_plain,
    with_schema,
)
from monitor.errors import RecordError
from monitor.profiles.arrow_values import numbers
from monitor.profiles.model_profile import (
    Profile,
    ProfileBuilder,
    Reference,
    complete_reference,
    draft_reference,
    profile_inputs,
    profile_outcomes,
)
from monitor.profiles.outcome import OutcomeProfile
from monitor.records import EMBEDDING, SEGMENT_PREFIX, ModelSchema, Task

# Up to here cells and scales are fixed by all rows of a reference, above by a sample of as many.
SAMPLE_ROWS = 1_000_000
# Predictions that meet their labels at once.
JOIN_ROWS = 1_000_000
# A sample grows by an eighth before it is cut back to its size, and is kept in so many pieces at most.
_SLACK, _PIECES = 8, 256
# Batches that wait to be counted: one may be slow to decode, and each takes memory.
_AHEAD = 2
Tick = Callable[[int], None]


def _quiet(_: int) -> None:
    pass


def reference_of_file(
    path: Path,
    *,
    labels: Path | None = None,
    name: str | None = None,
    task: Task | None = None,
    sample_rows: int = SAMPLE_ROWS,
    tick: Tick = _quiet,
    unread: Unread | None = None,
    segments: Sequence[str] = (),
) -> Reference:
    """The reference of a file's rows, with labels from its column `label` or another file, by `prediction_id`.

    `segments`: columns by which its rows are told apart. `unread` is told of rows that cannot be read. Raises
    RecordError for a file without rows or that cannot be read, or where such a column has no value.
    """
    file = open_plain(path, task=task, unread=unread, segments=segments)
    truth = None if labels is None else read_labels(labels)
    schema = file.schema if truth is None else _with_labels(file, truth)
    file = with_schema(file, replace(schema, model=name or schema.model))
    sample, ends, rows = _sample(file, sample_rows, tick)
    if rows <= sample_rows:
        table = _joined(sample, truth, file) if truth is not None else sample
        draft = draft_reference(file.schema, table)
        _check_segments(draft, segments, path)
        return complete_reference(draft, profile_inputs(draft, sample), _outcome(draft, table))
    table = _joined(sample, truth, file) if truth is not None else sample
    draft = draft_reference(file.schema, table, sampled=True, ends=ends)
    _check_segments(draft, segments, path)
    # The second pass needs room of its own.
    del sample, table
    profile, outcome = profile_of_file(file, draft, truth=truth, tick=tick)
    return complete_reference(draft, profile, outcome)


def _check_segments(draft: Reference, wanted: Sequence[str], path: Path) -> None:
    told = {spec.name for spec in draft.segments}
    for name in wanted:
        if name not in told:
            got = "none" if draft.sampled_rows is None else f"none in a sample of {draft.sampled_rows:,} rows"
            raise RecordError("no value to tell rows apart by", where=str(path), expected=f"values of {name}", got=got)


def profile_of_file(
    file: PlainFile,
    reference: Reference,
    *,
    truth: pa.Table | None = None,
    threads: int | None = None,
    tick: Tick = _quiet,
) -> tuple[Profile, OutcomeProfile | None]:
    """Drift and outcome profile of all rows; the latter is None where there are no labels.

    `truth` is what `read_labels` returns. Of every two of `threads` (all cores) one decodes batches and one counts
    them, each pair its own row groups of a Parquet file.
    """
    groups = file.metadata.num_row_groups if file.is_parquet else 1
    # Not a counting thread for every core: counts are many short calls, which hold each other up at the interpreter's
    # lock; decoding does not hold it.
    pairs = max(1, min((threads or os.cpu_count() or 1) // 2, groups))
    shares = [range(first, groups, pairs) if file.is_parquet else None for first in range(pairs)]

    keep_freed()
    stopped, counted = threading.Event(), _counted(file, reference)

    def count(share: Sequence[int] | None) -> tuple[Profile, OutcomeProfile | None]:
        builder, outcome = ProfileBuilder(reference), None
        for batch in _ahead(counted.batches(share)):
            if stopped.is_set():
                break
            builder.add(batch)
            if truth is None and "label" in batch.schema.names:
                outcome = _merged(outcome, _outcome(reference, pa.Table.from_batches([batch])))
            tick(batch.num_rows)
        return builder.profile(), outcome

    with ThreadPoolExecutor(pairs) as pool:
        others = [pool.submit(count, share) for share in shares[1:]]
        try:
            parts = [count(shares[0]), *(other.result() for other in others)]
        except BaseException:
            # An interrupt must not wait for the rest of a large file.
            stopped.set()
            raise
    profile = reduce(Profile.merge, (part for part, _ in parts))
    outcome = reduce(_merged, (part for _, part in parts), None)
    if truth is not None:
        outcome = _labelled_later(file, reference, truth)
    return profile, outcome


def _counted(file: PlainFile, reference: Reference) -> PlainFile:
    """The file without the columns that no profile counts: ids are often half of a file's bytes."""
    needed = {spec.name for spec in reference.columns} | {"prediction", "label", *reference.schema.probability_columns}
    needed |= {SEGMENT_PREFIX + spec.name for spec in reference.segments}
    if EMBEDDING in file.names:
        # Rows with embeddings are sampled by their ids.
        needed |= {EMBEDDING, "prediction_id"}
    if "label" in file.names:
        needed |= {"event_time", "label_time"}
    return replace(file, names={name: target for name, target in file.names.items() if target in needed})


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches, the next ones made by a thread of their own meanwhile."""
    # One thread alone: an iterator is nobody's to share.
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, batches, None) for _ in range(_AHEAD))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, batches, None))
            yield batch


def read_labels(path: Path) -> pa.Table:
    """`prediction_id`, `label` and, where it is there, `label_time` of a file; the latest label of each prediction.

    Raises RecordError where the file has not both columns.
    """
    file = open_plain(path, keeps_outputs=True)
    known = {target: name for name, target in file.names.items()}
    for needed in ("prediction_id", "label"):
        if needed not in known:
            got = f"columns {', '.join(sorted(file.kinds))}"
            raise RecordError(f"no column holds the {needed}", where=str(path), expected=f"a column {needed}", got=got)
    names = [name for name in ("prediction_id", "label", "label_time") if name in known]
    parts = [pa.Table.from_batches([batch]).select(names) for batch in file.batches()]
    table = pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({name: [] for name in names})
    ids = _ids(table.column("prediction_id"), path)
    table = table.set_column(0, "prediction_id", ids).filter(pc.is_valid(ids))
    return _latest(table)


def _latest(table: pa.Table) -> pa.Table:
    rows = pa.table({"row": np.arange(table.num_rows)})
    keyed = table.append_column("row", rows.column("row"))
    if "label_time" in table.column_names:
        # A label that does not say when it came is older than those that do.
        order = [("label_time", "ascending", "at_start"), ("row", "ascending", "at_start")]
        keyed = keyed.take(pc.sort_indices(keyed, sort_keys=order))
        keyed = keyed.set_column(keyed.column_names.index("row"), "row", rows.column("row"))
    last = keyed.group_by("prediction_id", use_threads=False).aggregate([("row", "max")]).column("row_max")
    return keyed.take(last).drop_columns(["row"])


def _ids(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    if not (pa.types.is_string(column.type) or pa.types.is_null(column.type)):
        got = f"a column of {column.type}"
        raise RecordError("not prediction ids", where=str(path), expected="text or whole numbers", got=got)
    return column.cast(pa.string())


def _with_labels(file: PlainFile, truth: pa.Table) -> ModelSchema:
    """Without probabilities to name the classes, those of labels are classes too."""
    schema = file.schema
    if schema.task != "classification" or set(schema.probability_columns) & set(file.names):
        return schema
    found = class_names(_one_array(truth.column("label")), schema.classes).unique().drop_null().to_pylist()
    return replace(schema, classes=tuple(sorted({*schema.classes, *found})))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)


def _joined(rows: pa.Table, truth: pa.Table, file: PlainFile) -> pa.Table:
    """Rows of a file with the column `label` of the truth; null where it has none."""
    if "prediction_id" not in rows.column_names:
        expected = "a column prediction_id, by which labels are found"
        raise RecordError("rows without ids cannot be labelled", where=str(file.path), expected=expected)
    plain = rows.drop_columns([name for name in ("label", "label_time") if name in rows.column_names])
    ids = _ids(plain.column("prediction_id"), file.path)
    place = pc.index_in(_one_array(ids), _one_array(truth.column("prediction_id")))
    for name in truth.column_names[1:]:
        column = _one_array(truth.column(name))
        column = (output_values(column, file.schema) if name == "label" else column).take(place)
        plain = plain.append_column(name, column)
    return plain


def _labelled_later(file: PlainFile, reference: Reference, truth: pa.Table) -> OutcomeProfile | None:
    """Outcome of predictions that meet their labels by id, a million at a time."""
    outcome: OutcomeProfile | None = None
    for rows in _blocks(_outputs_only(file, reference)):
        outcome = _merged(outcome, _outcome(reference, _joined(rows, truth, file)))
    return outcome


def _outputs_only(file: PlainFile, reference: Reference) -> PlainFile:
    needed = {"prediction_id", "prediction", "event_time", *reference.schema.probability_columns}
    needed |= {SEGMENT_PREFIX + spec.name for spec in reference.segments}
    if reference.estimators.losses is not None:
        needed |= {column.name for column in reference.estimators.losses.columns}
    return replace(file, names={name: target for name, target in file.names.items() if target in needed})


def _blocks(file: PlainFile) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    for batch in file.batches():
        waiting.append(batch)
        if sum(part.num_rows for part in waiting) >= JOIN_ROWS:
            yield _concatenated(waiting)
            waiting = []
    if waiting:
        yield _concatenated(waiting)


def _concatenated(batches: list[pa.RecordBatch]) -> pa.Table:
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    # Dictionaries differ from batch to batch, and a column of nulls has a type of its own.
    return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()


def _outcome(reference: Reference, table: pa.Table) -> OutcomeProfile | None:
    if "label" not in table.column_names or "prediction" not in table.column_names:
        return None
    labelled = table.filter(pc.is_valid(table.column("label")))
    return profile_outcomes(reference, labelled) if labelled.num_rows else None


def _merged(a: OutcomeProfile | None, b: OutcomeProfile | None) -> OutcomeProfile | None:
    return b if a is None else a if b is None else a.merge(b)


def _sample(file: PlainFile, limit: int, tick: Tick) -> tuple[pa.Table, dict[str, tuple[float, float]], int]:
    """At most `limit` rows (those whose number has the smallest hash), the ends of all numbers, and how many rows."""
    kept: list[pa.Table] = []
    hashes: list[npt.NDArray[np.uint64]] = []
    ends: dict[str, tuple[float, float]] = {}
    threshold, rows, held = np.uint64(2**64 - 1), 0, 0
    is_large = not file.is_parquet or file.metadata.num_rows > limit
    for batch in file.batches():
        own = _hash(np.arange(rows, rows + batch.num_rows, dtype=np.uint64))
        rows += batch.num_rows
        tick(batch.num_rows)
        table = pa.Table.from_batches([batch])
        if is_large:
            _widen(ends, batch)
        if (own > threshold).any():
            table, own = _taken(table, own <= threshold), own[own <= threshold]
        kept.append(table)
        hashes.append(own)
        held += own.size
        if held > limit + limit // _SLACK:
            threshold = _prune(kept, hashes, limit)
            held = limit
    if held > limit:
        _prune(kept, hashes, limit)
    if not kept:
        raise RecordError("no rows in the file", where=str(file.path), expected="at least one")
    return pa.concat_tables(kept, promote_options="permissive").unify_dictionaries(), ends, rows


def _prune(kept: list[pa.Table], hashes: list[npt.NDArray[np.uint64]], limit: int) -> np.uint64:
    """Drops all rows but those with the `limit` smallest hashes; piece by piece, or both would be there at once."""
    threshold = np.partition(np.concatenate(hashes), limit - 1)[limit - 1]
    for place, own in enumerate(hashes):
        inside = own <= threshold
        if not inside.all():
            kept[place], hashes[place] = _taken(kept[place], inside), own[inside]
    while len(kept) > _PIECES:
        # Neighbours become one, from the front; a piece is a batch of which less and less is left.
        for place in range(len(kept) // 2):
            pair = pa.concat_tables(kept[place : place + 2], promote_options="permissive")
            kept[place : place + 2] = [pair.unify_dictionaries().combine_chunks()]
            hashes[place : place + 2] = [np.concatenate(hashes[place : place + 2])]
    return np.uint64(threshold)


def _taken(table: pa.Table, inside: npt.NDArray[np.bool_]) -> pa.Table:
    """Some rows, without the words of the others: a column of identifiers would hold on to those of the whole file."""
    rows = table.filter(pa.array(inside))
    for place, column in enumerate(rows.columns):
        if pa.types.is_dictionary(column.type) and any(len(part.dictionary) > len(part) for part in column.chunks):
            words = column.cast(column.type.value_type).dictionary_encode()
            rows = rows.set_column(place, rows.field(place).name, words)
    return rows


def _hash(number: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele, Lea, Flood 2014): a bijection, so no two rows have one hash."""
    z = number + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def _widen(ends: dict[str, tuple[float, float]], batch: pa.RecordBatch) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        found = None if name in ASIDE else numbers(column)
        values = np.empty(0) if found is None else found[0][np.isfinite(found[0])]
        if values.size:
            low, high = ends.get(name, (np.inf, -np.inf))
            ends[name] = min(low, float(values.min())), max(high, float(values.max()))
