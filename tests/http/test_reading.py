"""What the daemon says of itself: metrics as bytes, probes, windows, a page that shows nothing as markup."""

from __future__ import annotations

import gzip

import httpx
import pytest

from tests.http.services import SpoolServices
from tests.records_samples import MODEL


def test_metrics_are_served_as_they_were_rendered(client: httpx.Client, services: SpoolServices) -> None:
    answer = client.get("/metrics", headers={"accept-encoding": "identity"})
    assert answer.content == services.exposition
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "content-encoding" not in answer.headers


def test_metrics_are_compressed_where_that_is_accepted(client: httpx.Client, services: SpoolServices) -> None:
    def compressed(accept: str) -> bool:
        with client.stream("GET", "/metrics", headers={"accept-encoding": accept}) as answer:
            raw = b"".join(answer.iter_raw())
        text = gzip.decompress(raw) if answer.headers.get("content-encoding") == "gzip" else raw
        assert text == services.exposition
        return text != raw

    assert compressed("gzip, deflate")
    assert not compressed("gzip;q=0")
    assert not compressed("br")
    services.exposition = b"trueup_x 2\n"
    assert compressed("deflate, gzip;q=0.5")


def test_probes_say_why_not(client: httpx.Client, services: SpoolServices) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "reasons": []}
    assert client.get("/readyz").status_code == 200
    services.conditions = (False, ["no evaluation yet"])
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "reasons": ["no evaluation yet"]})


def test_models_and_their_windows_are_listed(client: httpx.Client, services: SpoolServices) -> None:
    assert client.get("/v1/models").json() == {"models": [{"name": "pets", "task": "classification"}]}
    services.published = [{"window": "1h", "values": {"accuracy": {"value": 0.5}}}] * 3
    answer = client.get("/v1/models/pets/windows?window=1h&maturity=final&version=2&limit=2")
    assert answer.json() == {"windows": services.published[:2]}
    assert services.asked == {"version": "2", "window": "1h", "maturity": "final", "limit": 2}


def test_alarms_of_a_model_are_told(client: httpx.Client) -> None:
    answer = client.get("/v1/models/pets/alarms")
    assert answer.json() == {"model": "pets", "alarms": [{"check": "accuracy"}]}
    assert client.get("/v1/models/nobody/alarms").status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=many", "maturity=ripe"])
def test_a_wrong_query_is_refused(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/v1/models/pets/windows?{query}")
    assert answer.status_code == 422
    assert query.split("=", maxsplit=1)[0] in answer.text


@pytest.mark.parametrize("name", ["nobody", "..%2f..%2fetc", "%00", "a" * 500])
def test_an_unknown_model_is_not_found(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/v1/models/{name}/windows")
    assert answer.status_code == 404
    assert answer.json()["detail"]


def test_the_page_escapes_what_comes_from_outside(client: httpx.Client, services: SpoolServices) -> None:
    services.schemas["<script>alert(1)</script>\u202e"] = MODEL
    services.conditions = (False, ['<img src=x onerror="alert(1)">'])
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert "<img" not in answer.text
    assert "\u202e" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\ufffd" in answer.text
    assert "not ready" in answer.text


def test_the_api_document_describes_the_bodies(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert {"/metrics", "/healthz", "/readyz", "/v1/models", "/v1/predictions", "/v1/labels"} <= set(document["paths"])
    for path, required in (("/v1/predictions", "event_time"), ("/v1/labels", "label")):
        operation = document["paths"][path]["post"]
        content = operation["requestBody"]["content"]
        assert set(content) == {"application/json", "application/x-ndjson"}
        assert required in content["application/json"]["schema"]["anyOf"][0]["required"]
        assert {"202", "400", "401", "403", "404", "413", "415", "422", "503"} <= set(operation["responses"])
        assert operation["security"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_loads_scripts_from_elsewhere(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_an_error_of_ours_tells_no_details(client: httpx.Client, services: SpoolServices) -> None:
    services.exposition = None  # type: ignore[assignment]
    answer = client.get("/metrics", headers={"accept-encoding": "gzip"})
    assert (answer.status_code, answer.json()) == (500, {"detail": "an error of trueup itself; its log says more"})
