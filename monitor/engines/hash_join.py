"""Joins many labels with the predictions of the log in one pass, by DuckDB over the files of both.

What lives here: the query, which files it reads, its bounds on memory. What must not: what becomes of the rows, few
labels (for those `local.find` reads less).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from monitor.log.tables import SEQUENCE, LogFile, ModelLog
from monitor.records import TIMESTAMP

# Rows handed on at a time; DuckDB goes to disk beyond its own bound.
PART_ROWS = 500_000
_MEMORY = "384MB"
_LABEL_COLUMNS = ("label", "label_time", "source")
_TIMES = ("event_time", "label_time")


def join_labels(
    log: ModelLog, columns: Sequence[str], *, after: int, until: int, predictions_until: int, horizon: int
) -> Iterator[pa.Table]:
    """Labels of the ingest sequences (after, until], each with every prediction it belongs to, in parts.

    `columns` of the prediction, `prediction_id` and `version` among them, then `label`, `label_time`, `source`, in
    order of event time: what is written of it can be read pane by pane. A label without a prediction (up to
    `predictions_until`, no more than `horizon` µs after it) comes once with nulls.
    """
    known = log.schema("predictions")
    labels = [file for file in log.files("labels", after=after) if _within(file, until)]
    if known is None or not labels:
        return
    types = {item.name: item.type for item in known}
    truth = log.schema("labels")
    assert truth is not None
    with tempfile.TemporaryDirectory(prefix="trueup-join-") as spill, duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = '{spill}'")
        connection.execute("SET preserve_insertion_order = false")
        predictions = _prediction_files(log, connection, labels, after, until, predictions_until)
        read = "read_parquet(?, union_by_name = true, hive_partitioning = false)"
        query = f"""
            SELECT {_selected("p", columns, key="l")}, {_selected("l", _LABEL_COLUMNS)}
            FROM (SELECT * FROM {read} WHERE {SEQUENCE} > ? AND {SEQUENCE} <= ?) AS l
            LEFT JOIN (SELECT * FROM {read} WHERE {SEQUENCE} <= ?) AS p
            ON l.prediction_id = p.prediction_id AND epoch_us(p.event_time) - ? <= epoch_us(l.label_time)
            ORDER BY p.event_time"""
        given = [[file.uri for file in labels], after, until, predictions, predictions_until, horizon]
        schema = pa.schema(
            [
                *(pa.field(name, pa.string() if name == "prediction_id" else types[name]) for name in columns),
                *(pa.field(name, truth.field(name).type) for name in _LABEL_COLUMNS),
            ]
        )
        found = connection.sql(query, params=given)
        assert found is not None
        for batch in found.to_arrow_reader(PART_ROWS):
            yield _typed(batch, schema)


def _prediction_files(
    log: ModelLog, connection: duckdb.DuckDBPyConnection, labels: list[LogFile], after: int, until: int, newest: int
) -> list[str]:
    """Files whose ids, and event times where every label brings its prediction's, can be among the labels'."""
    bounds = connection.execute(
        f"""SELECT min(epoch_us(event_time)), max(epoch_us(event_time)), count(*) - count(event_time)
        FROM read_parquet(?, hive_partitioning = false) WHERE {SEQUENCE} > ? AND {SEQUENCE} <= ?""",
        [[file.uri for file in labels], after, until],
    ).fetchall()
    start, end, without_time = bounds[0]
    ids = [file.identifiers for file in labels if file.identifiers is not None]
    low, high = min((low for low, _ in ids), default=""), max((high for _, high in ids), default="")
    files = log.files("predictions", **({} if without_time or start is None else {"start": start, "end": end + 1}))
    inside = [
        file
        for file in files
        if _within(file, newest)
        and (
            len(ids) < len(labels)
            or file.identifiers is None
            or (file.identifiers[0] <= high and file.identifiers[1] >= low)
        )
    ]
    # A query needs a file, even one in which nothing will be found.
    return [file.uri for file in inside or log.files("predictions")[:1]]


def _within(file: LogFile, until: int) -> bool:
    return file.sequence is None or file.sequence[0] <= until


def _selected(table: str, columns: Sequence[str], key: str | None = None) -> str:
    def expression(name: str) -> str:
        quoted = '"' + name.replace('"', '""') + '"'
        source = key if key is not None and name == "prediction_id" else table
        # Numbers, since a time would come back in the zone of the session.
        return f"epoch_us({source}.{quoted}) AS {quoted}" if name in _TIMES else f"{source}.{quoted}"

    return ", ".join(expression(name) for name in columns)


def _typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    arrays = [
        column.cast(pa.int64()).cast(TIMESTAMP) if item.name in _TIMES else column.cast(item.type)
        for item, column in zip(schema, batch.columns, strict=True)
    ]
    return pa.table(arrays, schema=schema)
