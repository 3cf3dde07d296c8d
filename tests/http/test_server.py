"""The server is bound when `serve` returns, says why it cannot be, and stops without losing what it took."""

from __future__ import annotations

import socket
import threading
import time

import httpx
import pytest

from monitor.errors import OperatorError
from monitor.http.app import create_app
from monitor.http.server import serve
from monitor.settings import HttpSettings
from tests.http.services import SpoolServices


def test_a_port_in_use_is_named(services: SpoolServices) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = HttpSettings(port=port)
        with pytest.raises(OperatorError) as caught:
            serve(create_app(services, settings), settings)
    assert str(caught.value) == (
        f"127.0.0.1:{port}: port {port} is in use. Is another trueup monitor running?"
        " Another port goes into http.listen."
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_is_not_ours_is_named(services: SpoolServices, host: str) -> None:
    settings = HttpSettings(host=host, port=0)
    with pytest.raises(OperatorError, match=f"{host}:0: cannot listen on this address"):
        serve(create_app(services, settings), settings)


def test_after_stopping_the_port_is_free_and_the_threads_are_gone(services: SpoolServices) -> None:
    before = threading.active_count()
    settings = HttpSettings(port=0)
    handle = serve(create_app(services, settings), settings)
    assert httpx.get(f"{handle.url}/healthz", trust_env=False).status_code == 200
    handle.stop()
    handle.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{handle.url}/healthz", trust_env=False)
    again = HttpSettings(port=handle.port)
    second = serve(create_app(services, again), again)
    assert second.port == handle.port
    second.stop()
    assert not [thread for thread in threading.enumerate() if thread.name in ("http", "group commit")]
    assert threading.active_count() <= before + 1


def test_a_request_under_way_is_finished_before_the_end(services: SpoolServices) -> None:
    settings = HttpSettings(port=0)
    handle = serve(create_app(services, settings), settings)
    services.gate.clear()
    answers: list[int] = []

    def post() -> None:
        label = {"prediction_id": "a", "label": "cat"}
        answers.append(httpx.post(f"{handle.url}/v1/labels", json=label, trust_env=False, timeout=20).status_code)

    client = threading.Thread(target=post)
    client.start()
    stopping = threading.Thread(target=handle.stop)
    deadline = time.monotonic() + 10
    while not services.waiting() and time.monotonic() < deadline:
        time.sleep(0.01)
    stopping.start()
    services.gate.set()
    client.join()
    stopping.join()
    assert answers == [202]
    assert services.ids() == ["a"]
