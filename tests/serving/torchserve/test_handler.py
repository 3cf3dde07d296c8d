"""The handler in the real TorchServe: answers, refusals, batches, and what of it is in the log."""

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from scipy.special import softmax

from serving.image_features import image_features
from tests.serving.bundles import CLASSES, encoded, pixels, run_bundle
from tests.serving.spooled import rows, until
from tests.serving.torchserve.conftest import Served


def ask(
    served: Served, content: bytes, prediction_id: str | None = None, model: str = "animals", **headers: str
) -> httpx.Response:
    given = {} if prediction_id is None else {"X-Prediction-Id": prediction_id}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.client.post(f"/predictions/{model}", content=content, headers=given | named)


def logged(served: Served, prediction_id: str) -> dict[str, Any]:
    return until(lambda: [row for row in rows(served.spool) if row["prediction_id"] == prediction_id])[0]


def test_an_image_is_answered_and_logged_with_every_digit(served: Served) -> None:
    image = pixels(1)
    before = datetime.now(UTC)
    response = ask(served, encoded(image), "order-1", X_Region="eu", X_Request_Id="trace-9")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-prediction-id"] == "order-1"
    outputs, embedding = run_bundle(served.bundles["animals"], image)
    answer = response.json()
    probabilities = answer.pop("probabilities")
    assert list(probabilities) == list(CLASSES)
    np.testing.assert_allclose(list(probabilities.values()), softmax(outputs.astype(np.float64)), rtol=1e-6)
    assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-15)
    expected = CLASSES[int(outputs.argmax())]
    row = logged(served, "order-1")
    assert datetime.fromisoformat(answer.pop("event_time")) == row["event_time"]
    assert answer == {"class": expected, "prediction_id": "order-1", "model": "animals", "version": "v1"}

    # the log's numbers are the client's, bit by bit: the monitor's figures are checked against the answers
    assert {name: row[f"p_{name}"] for name in CLASSES} == probabilities
    assert {key: row[key] for key in ("version", "prediction", "s_region", "request_id")} == {
        "version": "v1",
        "prediction": expected,
        "s_region": "eu",
        "request_id": "trace-9",
    }
    assert {name: row[f"f_{name}"] for name in image_features(image)} == pytest.approx(image_features(image))
    np.testing.assert_allclose(np.frombuffer(row["embedding"], "<f2"), embedding, atol=2e-3)
    assert before - timedelta(seconds=1) < row["event_time"] < datetime.now(UTC) + timedelta(seconds=1)
    assert 0.0 < row["latency_seconds"] < 10.0


def test_a_regression_answers_a_value(served: Served) -> None:
    image = pixels(2)
    answer = ask(served, encoded(image, "JPEG"), "turn-1", "angle").json()
    value = answer.pop("value")
    row = logged(served, "turn-1")
    assert datetime.fromisoformat(answer.pop("event_time")) == row["event_time"]
    assert answer == {"prediction_id": "turn-1", "model": "angle", "version": "20260101T000000Z"}
    assert row["prediction"] == value
    assert not [name for name in row if name.startswith("p_")]


def test_without_an_id_the_server_makes_ids_in_the_order_of_time(served: Served) -> None:
    ids = [ask(served, encoded(pixels(3))).json()["prediction_id"] for _ in range(3)]
    assert ids == sorted(set(ids))
    row = logged(served, ids[0])
    assert row["s_region"] is None
    assert len(row["request_id"]) == 36  # TorchServe's own


def test_bad_images_in_a_batch_do_not_touch_the_good_ones(served: Served) -> None:
    contents = [encoded(pixels(index)) if index % 2 else b"wrong" for index in range(8)]
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda index: ask(served, contents[index], f"mixed-{index}"), range(8)))
    assert [response.status_code for response in responses] == [400, 200] * 4
    assert responses[0].json() == {
        "error": "mixed-0: not a readable image (expected PNG or JPEG, got 5 bytes starting with 77 72 6f 6e 67)",
        "status": 400,
        "prediction_id": "mixed-0",
    }
    good = [logged(served, f"mixed-{index}") for index in (1, 3, 5, 7)]
    # one moment for all that were answered together: they did meet in a batch with bad ones beside them
    assert len({row["event_time"] for row in good}) < len(good)
    assert not [row for row in rows(served.spool) if row["prediction_id"] in ("mixed-0", "mixed-2")]
    for index, row in zip((1, 3, 5, 7), good, strict=True):
        outputs, _ = run_bundle(served.bundles["animals"], pixels(index))
        assert row["prediction"] == CLASSES[int(outputs.argmax())]


def test_a_list_of_images_gets_a_list_of_answers_with_numbered_ids(served: Served) -> None:
    images = [encoded(pixels(4)), encoded(pixels(5), "JPEG")]
    instances = [base64.b64encode(images[0]).decode(), {"b64": base64.b64encode(images[1]).decode()}, "not base64!"]
    response = served.client.post(
        "/predictions/animals", json={"instances": instances}, headers={"X-Prediction-Id": "many", "X-Region": "us"}
    )
    assert response.status_code == 200
    first, second, third = response.json()["predictions"]
    assert (first["prediction_id"], second["prediction_id"]) == ("many-0", "many-1")
    assert third["status"] == 400
    assert third["error"].startswith("many-2: not an encoded image (expected base64")
    assert logged(served, "many-1")["p_cat"] == second["probabilities"]["cat"]
    assert logged(served, "many-0")["s_region"] == "us"


def test_the_parts_of_a_form_are_images(served: Served) -> None:
    files = {"left": encoded(pixels(6)), "right": b"broken"}
    response = served.client.post("/predictions/animals", files=files, headers={"X-Prediction-Id": "form"})
    left, right = response.json()["predictions"]
    assert left["prediction_id"] == "form-0"
    assert right["error"].startswith("form-1: not a readable image")
    single = served.client.post("/predictions/animals", files={"data": encoded(pixels(6))})
    assert single.json()["class"] == left["class"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"X-Prediction-Id": "x" * 201}, "expected 1 to 200 printable ASCII characters, got 201 characters"),
        ({"X-Prediction-Id": ""}, "got ''"),
        ({"X-Prediction-Id": "é".encode()}, "not a prediction id"),
    ],
    ids=["too long", "empty", "not ASCII"],
)
def test_a_bad_id_refuses_the_request(served: Served, headers: dict[str, Any], words: str) -> None:
    response = served.client.post("/predictions/animals", content=encoded(pixels(7)), headers=headers)
    assert response.status_code == 400
    assert words in response.json()["error"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"{}", "application/json"), (b"[1]", "application/json"), (b'{"instances": []}', "application/json")],
)
def test_a_request_without_an_image_says_what_one_looks_like(served: Served, content: bytes, kind: str) -> None:
    response = served.client.post("/predictions/animals", content=content, headers={"Content-Type": kind})
    assert response.status_code == 400
    assert (
        'no image in the request (expected an image file, a form with one image per part, or JSON {"inst'
        in (response.json()["error"])
    )


def test_a_bad_request_of_any_kind_leaves_the_worker_alive(served: Served) -> None:
    for content, kind in [(b"", "image/png"), (b"{", "application/json"), (b"\xff\xfe", "text/plain"), (b"null", "")]:
        response = served.client.post("/predictions/animals", content=content, headers={"Content-Type": kind})
        assert response.status_code == 400, response.text
    # BaseHandler would switch to explanations, and stay there
    response = ask(served, encoded(pixels(8)), "explained", explain="True", describe="True")
    assert response.json()["prediction_id"] == "explained"
    assert served.server.worker_deaths() == 0


def test_torchserve_counts_what_the_capture_did(served: Served) -> None:
    ask(served, encoded(pixels(9)), "counted")

    def counted() -> list[str]:
        text = httpx.get(served.server.metrics_address).text
        return [line for line in text.splitlines() if line.startswith("trueup_capture_predictions_total{")]

    [line] = until(lambda: [line for line in counted() if 'model="animals"' in line])
    assert 'version="v1",outcome="sent"' in line
    sent = sum("p_cat" in row for row in rows(served.spool))
    until(lambda: any(float(line.rsplit(" ", 1)[1]) >= sent for line in counted()))
