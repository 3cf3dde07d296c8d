"""Ground truth in a database reaches the spool: all of it, only what is new, again after a failure, bad rows apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from monitor.errors import OperatorError
from monitor.label_sources import LabelSources, SourceRecord, source_record
from monitor.log.rejection import Rejected
from monitor.log.roles import SourceRules
from monitor.log.spool import SpoolWriter
from monitor.log.sql_labels import Delivered, decode_position, encode_position, read_labels
from monitor.records import Kind
from monitor.settings import ModelSettings, SqlLabels
from monitor.state import State, open_state
from monitor.windows import MICROSECONDS
from tests.daemon_process import free_port, running_daemon, wait_until, write_config
from tests.postgres_server import postgres_server
from tests.records_samples import MODEL, predictions

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
SCHEMA = "create table orders (id {key}, outcome text, updated_at {time}, seen integer)"
QUERY = "select id as prediction_id, outcome as label, updated_at from orders where updated_at > :cursor"


class Shop:
    """A database in which outcomes of orders appear and change."""

    def __init__(self, url: str, key: str, time: str) -> None:
        self.url = url
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        self._text_times = url.startswith("sqlite")
        with self._engine.begin() as connection:
            connection.execute(sa.text("drop table if exists orders"))
            connection.execute(sa.text(SCHEMA.format(key=key, time=time)))

    def put(self, identifier: str, outcome: str | None, at: datetime, seen: int = 0) -> None:
        moment: Any = at.strftime("%Y-%m-%d %H:%M:%S.%f+00:00") if self._text_times else at
        with self._engine.begin() as connection:
            values = {"id": identifier, "outcome": outcome, "at": moment, "seen": seen}
            connection.execute(sa.text("insert into orders values (:id, :outcome, :at, :seen)"), values)

    def drop(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.text("drop table orders"))

    def source(self, **changes: Any) -> SqlLabels:
        return replace(SqlLabels(self.url, QUERY, "updated_at", every_seconds=60.0), **changes)


class Kept:
    """What reached the spool and the dead letters; `broken` fails instead, as a full disk does."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.rejected: list[Rejected] = []
        self.broken = False

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        if self.broken:
            raise OSError(28, "No space left on device")
        self.rows += [row for batch in batches for row in batch.to_pylist()]

    def reject(self, rejected: Sequence[Rejected], *, source: str, model: str, kind: Kind) -> None:
        assert (source, model, kind) == ("sql", "pets", "label")
        self.rejected += rejected

    def take(self) -> list[str]:
        """Ids since the last call."""
        found, self.rows = sorted(row["prediction_id"] for row in self.rows), []
        return found


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["postgresql", "postgresql without time zone", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    if request.param == "sqlite":
        return Shop(f"sqlite:///{tmp_path / 'shop.db'}", "text", "text")
    url = request.getfixturevalue("postgres")
    return Shop(url, "text", "timestamp" if "without" in request.param else "timestamptz")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = open_state(f"sqlite:///{tmp_path / 'state.db'}", exclusive=True)
    opened.acquire(0)
    yield opened
    opened.close()


class Reader:
    """The daemon's side, with a clock of its own."""

    def __init__(self, state: State, source: SqlLabels) -> None:
        self.state = state
        self.source = source
        self.now = NOON + timedelta(days=1)
        self.kept = Kept()
        self.restart()

    def restart(self) -> None:
        self._sources = LabelSources(self.state, self.kept, lambda: round(self.now.timestamp() * MICROSECONDS))

    def read(self) -> int | str | None:
        """One tick, one interval later."""
        self.now += timedelta(seconds=self.source.every_seconds)
        # The columns without a zone are of UTC.
        rules = SourceRules(MODEL, timezone="UTC", source="sql")
        outcomes = self._sources.read_due([ModelSettings("pets", sql_labels=self.source)], lambda _: rules)
        return outcomes.get("pets")

    @property
    def record(self) -> SourceRecord:
        with self.state.transaction(write=False) as transaction:
            found = source_record(transaction, "pets")
        assert found is not None
        return found


def test_every_label_is_read_once_and_changes_are_read_when_they_come(shop: Shop, state: State) -> None:
    for place in range(50):
        shop.put(f"order-{place:02d}", "cat", NOON + timedelta(minutes=place))
    reader = Reader(state, shop.source())
    assert reader.read() == 50
    assert reader.kept.rows[0]["label_time"] == NOON
    assert {row["source"] for row in reader.kept.rows} == {"sql"}
    assert reader.kept.take() == [f"order-{place:02d}" for place in range(50)]
    assert reader.read() == 0
    shop.put("order-07", "dog", NOON + timedelta(hours=2))
    assert reader.read() == 1
    assert [(row["prediction_id"], row["label"]) for row in reader.kept.rows] == [("order-07", "dog")]
    assert reader.record.newest == round((NOON + timedelta(hours=2)).timestamp() * MICROSECONDS)


def test_rows_beyond_one_part_are_all_read(shop: Shop, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.log.sql_labels.CHUNK_ROWS", 7)
    for place in range(20):
        shop.put(f"{place:02d}", "cat", NOON - timedelta(hours=place))
    reader = Reader(state, shop.source())
    assert reader.read() == 20
    assert len(reader.kept.take()) == 20
    assert reader.read() == 0


def test_a_restart_reads_from_the_durable_position_and_no_further_back_than_the_overlap(
    shop: Shop, state: State
) -> None:
    shop.put("old", "cat", NOON - timedelta(hours=1))
    shop.put("new", "cat", NOON)
    reader = Reader(state, shop.source(overlap_seconds=60.0))
    assert reader.read() == 2
    reader.kept.take()
    reader.restart()
    reader.read()
    # Text has no overlap; a repeat is harmless, it has the label time of the first reading.
    assert reader.kept.take() == ([] if shop.url.startswith("sqlite") else ["new"])


def test_what_a_long_transaction_commits_late_is_read_within_the_overlap(postgres: str, state: State) -> None:
    shop = Shop(postgres, "text", "timestamptz")
    shop.put("a", "cat", NOON)
    reader = Reader(state, shop.source(overlap_seconds=60.0))
    assert reader.read() == 1
    shop.put("late", "dog", NOON - timedelta(seconds=30))
    assert reader.read() == 1
    assert reader.kept.take() == ["a", "late"]
    assert reader.read() == 0


def test_a_full_disk_leaves_the_position_and_the_labels_come_again(shop: Shop, state: State) -> None:
    shop.put("a", "cat", NOON)
    reader = Reader(state, shop.source())
    reader.kept.broken = True
    assert "No space left" in str(reader.read())
    assert (reader.record.position, reader.record.last_success) == (None, None)
    assert "No space left" in str(reader.record.error)
    reader.kept.broken = False
    assert reader.read() == 1
    assert reader.kept.take() == ["a"]
    assert (reader.record.error, reader.record.last_success is None) == (None, False)


def test_bad_rows_are_rejected_with_their_content_and_the_good_go_on(shop: Shop, state: State) -> None:
    shop.put("a", "unicorn", NOON)
    shop.put("b", None, NOON)
    shop.put("c", "owl", NOON)
    reader = Reader(state, shop.source())
    assert reader.read() == 1
    assert reader.kept.take() == ["c"]
    assert sorted(row.reason.value for row in reader.kept.rejected) == ["missing_value", "unknown_class"]
    assert any(b'"unicorn"' in row.original and b'"a"' in row.original for row in reader.kept.rejected)
    assert reader.read() == 0
    assert len(reader.kept.rejected) == 2


def test_a_number_may_be_the_cursor(shop: Shop, state: State) -> None:
    for place in range(1, 4):
        shop.put(f"order-{place}", "cat", NOON, seen=place)
    query = "select id as prediction_id, outcome as label, seen from orders where seen > :cursor"
    reader = Reader(state, shop.source(query=query, cursor="seen", start=1))
    assert reader.read() == 2
    assert reader.kept.take() == ["order-2", "order-3"]
    shop.put("order-4", "cat", NOON, seen=4)
    reader.restart()
    assert reader.read() == 1
    assert reader.kept.take() == ["order-4"]


def test_the_first_query_begins_where_it_is_told(shop: Shop, state: State) -> None:
    shop.put("before", "cat", NOON - timedelta(days=1))
    shop.put("after", "cat", NOON + timedelta(days=1))
    start = "2026-09-21 12:00:00" if shop.url.startswith("sqlite") else "2026-09-21T12:00:00+00:00"
    assert Reader(state, shop.source(start=start)).read() == 1


def test_a_source_is_read_when_it_is_due(shop: Shop, state: State) -> None:
    reader = Reader(state, shop.source(every_seconds=100.0))
    assert reader.read() == 0
    reader.now -= timedelta(seconds=100.0)
    assert reader.read() is None


def test_what_is_wrong_is_said_and_the_password_is_not(shop: Shop, state: State) -> None:
    for changes, message in (
        ({"query": "select nothing from nowhere where 1 > :cursor"}, "labels cannot be read from the database"),
        ({"cursor": "changed_at"}, "the query has no cursor column (expected changed_at, got prediction_id, label"),
    ):
        shop.put("a", "cat", NOON)
        with pytest.raises(OperatorError, match=re.escape(message)):
            list(read_labels(shop.source(**changes), None, Delivered()))
    unreachable = shop.source(url="postgresql+psycopg://reader:hunter2@127.0.0.1:1/shop")
    said = str(Reader(state, unreachable).read())
    assert "127.0.0.1:1/shop" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("position", [7, 1.5, "2026-01-31 x", NOON, NOON.replace(tzinfo=None), NOON.date()], ids=repr)
def test_a_position_is_the_same_after_a_restart(position: Any) -> None:
    again = decode_position(encode_position(position))
    assert (again, type(again)) == (position, type(position))


def test_the_daemon_joins_the_labels_of_a_database_and_shows_how_reading_goes(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path / 'shop.db'}", "text", "text")
    port = free_port()
    sql = {"url": "sqlite:///shop.db", "query": QUERY, "cursor": "updated_at", "every": "0.5s"}
    config = write_config(tmp_path, port, labels={"minimum": 20, "sql": sql}, columns={"timezone": "UTC"})
    now = datetime.now(UTC)
    ids = [f"order-{place:02d}" for place in range(30)]
    writer = SpoolWriter(tmp_path / "trueup-data" / "spool")
    writer.append(predictions(ids, start=round(now.timestamp() * MICROSECONDS) - 30_000_000))
    writer.close()
    with running_daemon(config, port) as daemon:
        for name in ids:
            shop.put(name, "cat", now)
        shop.put("order-30", "unicorn", now)
        source = {"model": "pets", "source": "sql"}
        wait_until(lambda: daemon.value("trueup_labels_total", model="pets", state="matched") == 30, "labels match")
        assert daemon.value("trueup_source_success", **source) == 1
        assert daemon.value("trueup_source_newest_timestamp_seconds", **source) == pytest.approx(now.timestamp())
        assert daemon.value("trueup_source_records_rejected_total", **source) == 1
        shop.drop()
        wait_until(lambda: daemon.value("trueup_source_success", **source) == 0, "the failure shows")
        assert "no such table" in daemon.output.read_text()
