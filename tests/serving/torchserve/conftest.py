"""One TorchServe for all tests that only ask it things: a classification and a regression model, logged."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from serving.torchserve.archive import archive_bundle
from serving.torchserve.server import TorchServe
from serving.torchserve.settings import ServerSettings
from tests.serving.bundles import make_bundle


@dataclass(frozen=True)
class Served:
    """A running server, its model store, bundles by model name, spool, and a client with the inference key."""

    server: TorchServe
    store: Path
    bundles: dict[str, Path]
    spool: Path
    client: httpx.Client


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("torchserve")
    store, spool = folder / "store", folder / "spool"
    bundles = {
        "animals": make_bundle(folder / "animals", name="animals"),
        "angle": make_bundle(folder / "angle", name="angle", version="20260101T000000Z", task="regression"),
    }
    for bundle in bundles.values():
        archive_bundle(bundle, store, {"spool": "/nowhere", "segments": {"region": "X-Region"}})
    settings = ServerSettings(
        store,
        port=0,
        management_port=0,
        metrics_port=0,
        batch_size=8,
        # Long enough for the requests of a test to meet in one batch.
        batch_delay_ms=150,
        model_api=True,
        spool=spool,
    )
    with TorchServe(settings) as server:
        headers = {"Authorization": f"Bearer {server.inference_key}"}
        with httpx.Client(base_url=server.address, headers=headers, timeout=30) as client:
            yield Served(server, store, bundles, spool, client)
