"""A real server on a free port of the loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.http.app import create_app
from monitor.http.server import ServerHandle, serve
from monitor.settings import HttpSettings
from tests.http.services import NOW_SECONDS, SpoolServices

SETTINGS = HttpSettings(port=0)
Start = Callable[..., httpx.Client]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[SpoolServices]:
    found = SpoolServices(tmp_path)
    yield found
    found.writer.close()


@pytest.fixture
def start(services: SpoolServices) -> Iterator[Start]:
    """Starts a server with some settings changed; returns a client for it."""
    running: list[tuple[ServerHandle, httpx.Client]] = []

    def run(served: SpoolServices = services, **changes: Any) -> httpx.Client:
        settings = replace(SETTINGS, **changes)
        handle = serve(create_app(served, settings, clock=lambda: NOW_SECONDS), settings)
        client = httpx.Client(base_url=handle.url, timeout=20, trust_env=False)
        running.append((handle, client))
        return client

    yield run
    for handle, client in running:
        client.close()
        handle.stop()


@pytest.fixture
def client(start: Start) -> httpx.Client:
    """A client of a server with default settings."""
    return start()
