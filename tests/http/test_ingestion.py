"""Records that were acknowledged are in the spool; those that were not taken are told one by one."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.log.dead_letters import read_dead_letters
from tests.http.conftest import Start
from tests.http.services import PRICE, SpoolServices
from tests.records_samples import MODEL

PREDICTION = {"prediction_id": "a", "event_time": "2026-01-31T12:00:00Z", "prediction": "cat", "age": 3}
LABEL = {"prediction_id": "a", "label": "dog"}
NDJSON = {"content-type": "application/x-ndjson"}


def lines(*rows: Any) -> bytes:
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


def test_one_record_a_list_and_lines_are_taken_and_durable(client: httpx.Client, services: SpoolServices) -> None:
    assert client.post("/v1/predictions", json=PREDICTION).status_code == 202
    assert (
        client.post("/v1/predictions", json=[PREDICTION | {"prediction_id": name} for name in "bc"]).status_code == 202
    )
    answer = client.post("/v1/labels", content=lines(LABEL, LABEL | {"prediction_id": 7}), headers=NDJSON)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "rejected": 0, "errors": []})
    written = services.written()
    assert [(kind, row["prediction_id"]) for kind, _, row in written] == [
        ("prediction", "a"),
        ("prediction", "b"),
        ("prediction", "c"),
        ("label", "a"),
        ("label", "7"),
    ]
    assert written[0][2]["f_age"] == 3.0
    assert written[3][2]["label_time"].timestamp() == 1_790_000_000


def test_good_records_go_through_beside_bad_ones(client: httpx.Client, services: SpoolServices) -> None:
    content = lines(LABEL, b"nonsense", {"prediction_id": "b", "label": "cow"}, LABEL | {"prediction_id": "c"})
    answer = client.post("/v1/labels", content=content, headers=NDJSON)
    assert answer.status_code == 202
    receipt = answer.json()
    assert (receipt["accepted"], receipt["rejected"]) == (2, 2)
    assert [(error["line"], error["reason"]) for error in receipt["errors"]] == [(2, "malformed"), (3, "unknown_class")]
    assert receipt["errors"][1]["message"] == "line 3, label: unknown class (expected one of cat, dog, owl, got 'cow')"
    assert services.ids() == ["a", "c"]
    letters = list(read_dead_letters(services.folder / "dead"))
    assert [(letter.original, letter.source, letter.kind) for letter in letters] == [
        (b"nonsense", "http /v1/labels", "label"),
        (b'{"prediction_id": "b", "label": "cow"}', "http /v1/labels", "label"),
    ]


def test_if_none_is_good_nothing_is_written(client: httpx.Client, services: SpoolServices) -> None:
    answer = client.post("/v1/labels", json=[{"label": "cat"}] * 150)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "no record was taken"
    assert answer.json()["rejected"] == 150
    assert len(answer.json()["errors"]) == 100
    assert services.writes == 0


@pytest.mark.parametrize(
    ("headers", "content", "status", "detail"),
    [
        ({"content-type": "application/json"}, b"{", 400, "not JSON"),
        ({"content-type": "application/json"}, b"7", 400, "not a record (expected a JSON object"),
        ({"content-type": "application/json"}, b"[]", 400, "no records in the body"),
        (NDJSON, b"\n \n", 400, "no records in the body"),
        (
            {"content-type": "text/csv"},
            b"a,b",
            415,
            "expected application/json or application/x-ndjson, got 'text/csv'",
        ),
        ({}, b"{}", 415, "got 'no type'"),
        (NDJSON | {"content-encoding": "gzip"}, b"{}", 415, "compressed bodies are not taken"),
        (NDJSON, b"x" * 5000, 413, "the body is too large: at most 4096 bytes"),
        (NDJSON, lines({f"x{index}": 1 for index in range(2001)})[:4000] + b"}", 422, "no record was taken"),
    ],
)
def test_a_body_of_no_use_is_one_clear_problem(
    start: Start, headers: dict[str, str], content: bytes, status: int, detail: str
) -> None:
    client = start(maximum_body_bytes=4096)
    answer = client.post("/v1/labels", content=content, headers=headers)
    assert answer.status_code == status
    assert detail in answer.json()["detail"]


def test_a_body_that_declares_too_much_is_refused_before_it_is_sent(start: Start) -> None:
    client = start(maximum_body_bytes=4096)
    connection = http.client.HTTPConnection("127.0.0.1", client.base_url.port or 0, timeout=10)
    connection.putrequest("POST", "/v1/labels")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read()) == {"detail": "the body is too large: at most 4096 bytes"}
    connection.close()


def test_a_body_that_declares_nothing_is_read_up_to_the_limit_only(start: Start) -> None:
    client = start(maximum_body_bytes=4096)
    sent = []

    def endless() -> Iterator[bytes]:
        for _ in range(10_000):
            sent.append(1)
            yield b"x" * 65_536

    try:
        answer = client.post("/v1/labels", content=endless(), headers=NDJSON)
    except httpx.TransportError:
        pass  # the server hung up while we were still sending
    else:
        assert answer.status_code == 413
    assert len(sent) < 500  # what the sockets' buffers take


def test_records_name_their_model_or_the_request_does(tmp_path: Path, start: Start) -> None:
    services = SpoolServices(tmp_path / "two", (MODEL, PRICE))
    client = start(services)
    rows = [LABEL | {"model": "pets"}, {"prediction_id": "b", "label": 2, "model": "price"}]
    assert client.post("/v1/labels", json=rows).json()["accepted"] == 2
    assert client.post("/v1/labels?model=price", json={"prediction_id": "c", "label": 2}).status_code == 202
    assert [(model, row["prediction_id"]) for _, model, row in services.written()] == [
        ("pets", "a"),
        ("price", "b"),
        ("price", "c"),
    ]
    answer = client.post("/v1/labels?model=none", json=LABEL)
    assert (answer.status_code, answer.json()) == (404, {"detail": "no model 'none' takes records here"})
    answer = client.post("/v1/labels", json=LABEL | {"model": "none"})
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["message"] == "line 1: unknown model 'none'"
    answer = client.post("/v1/labels", json=LABEL)
    assert answer.json()["errors"][0]["message"] == "line 1: names no model"
    answer = client.post("/v1/labels?model=price", json=LABEL | {"model": "pets", "label": 1})
    assert answer.json()["errors"][0]["reason"] == "unknown_model"
    services.writer.close()


def test_a_full_spool_asks_to_come_back(tmp_path: Path, start: Start) -> None:
    services = SpoolServices(tmp_path / "full", maximum_bytes=10)
    answer = start(services).post("/v1/labels", json=LABEL)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"detail": "the spool is full, try again later"}
    services.writer.close()


def test_a_disk_that_fails_acknowledges_nothing(client: httpx.Client, services: SpoolServices) -> None:
    assert client.post("/v1/labels", json=LABEL).status_code == 202
    services.writer.seal()
    for path in services.writer.directory.glob("*.segment"):
        path.unlink()
    services.writer.directory.rename(services.writer.directory.with_name("gone"))
    answer = client.post("/v1/labels", json=LABEL)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"detail": "the records could not be written, try again later"}
    services.writer.directory.with_name("gone").rename(services.writer.directory)
    assert client.post("/v1/labels", json=LABEL | {"prediction_id": "b"}).status_code == 202
    assert services.ids() == ["b"]


def test_dead_letters_that_cannot_be_kept_do_not_fail_the_request(
    client: httpx.Client, services: SpoolServices
) -> None:
    (services.folder / "dead").write_text("a file where the folder should be")
    answer = client.post("/v1/labels", json=[LABEL, {"label": "cat"}])
    assert (answer.status_code, answer.json()["rejected"]) == (202, 1)


def test_many_small_requests_share_a_write(client: httpx.Client, services: SpoolServices) -> None:
    services.gate.clear()
    count = 24
    with ThreadPoolExecutor(count) as pool:
        started = threading.Barrier(count + 1)

        def post(index: int) -> int:
            started.wait()
            return client.post("/v1/labels", json=LABEL | {"prediction_id": str(index)}).status_code

        answers = [pool.submit(post, index) for index in range(count)]
        started.wait()
        first_done = any(answer.done() for answer in answers)
        threading.Timer(0.4, services.gate.set).start()
        assert {answer.result() for answer in answers} == {202}
    assert not first_done
    assert services.writes < count / 2
    assert sorted(services.ids(), key=int) == [str(index) for index in range(count)]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["prediction_id", "label", "model", "label_time", "x"]), inner, max_size=4)
    ),
)


@given(
    content=st.binary(max_size=60) | JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    path=st.sampled_from(["labels", "predictions"]),
    kind=st.sampled_from(["application/json", "application/x-ndjson"]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_body_is_an_error_of_ours(client: httpx.Client, content: bytes, path: str, kind: str) -> None:
    answer = client.post(f"/v1/{path}", content=content, headers={"content-type": kind})
    assert answer.status_code in (202, 400, 404, 422)
    assert answer.status_code == 202 or answer.json()["detail"]
