"""Settings: which archives, which ports, and what TorchServe is told."""

import json
import socket
import zipfile
from pathlib import Path

import pytest

from monitor.errors import OperatorError
from serving.torchserve.settings import (
    Archive,
    Ports,
    ServerSettings,
    choose_ports,
    config_properties,
    find_archives,
)

PORTS = Ports(1, 2, 3, 4, 5)


def archive(path: Path, name: str = "animals", version: str = "v1") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        content = {"model": {"modelName": name, "modelVersion": version, "handler": "handler.py"}}
        file.writestr("MAR-INF/MANIFEST.json", json.dumps(content))
    return path


def properties(settings: ServerSettings, archives: list[Archive]) -> dict[str, str]:
    text = config_properties(settings, PORTS, archives, Path("/srv/metrics.yaml"))
    return dict(line.split("=", 1) for line in text.splitlines())


def test_without_names_every_archive_is_served_under_its_own(tmp_path: Path) -> None:
    archive(tmp_path / "b.mar", "birds", "v7")
    archive(tmp_path / "a.mar", "ants")
    (tmp_path / ".draft.mar").write_text("half")
    assert find_archives(ServerSettings(tmp_path)) == [Archive("ants", "a.mar", "v1"), Archive("birds", "b.mar", "v7")]


def test_names_choose_archives(tmp_path: Path) -> None:
    archive(tmp_path / "a.mar")
    assert find_archives(ServerSettings(tmp_path, {"pets": "a.mar"})) == [Archive("pets", "a.mar", "v1")]


@pytest.mark.parametrize("file", ["gone.mar", "../a.mar", "/etc/passwd", "."])
def test_an_archive_that_is_not_in_the_store_is_named(tmp_path: Path, file: str) -> None:
    archive(tmp_path / "a.mar")
    store = tmp_path / "store"
    store.mkdir()
    with pytest.raises(OperatorError, match=r"no such model archive .*\.mar file in the model store.*trueup archive"):
        find_archives(ServerSettings(store, {"animals": file}))


def test_a_missing_or_empty_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"gone: no such model store\. Make one with `trueup archive`"):
        find_archives(ServerSettings(tmp_path / "gone"))
    with pytest.raises(OperatorError, match=r"no model archive in the model store .expected \*\.mar"):
        find_archives(ServerSettings(tmp_path))


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mar").write_text("no zip")
    with pytest.raises(OperatorError, match=r"a\.mar: not a model archive .got BadZipFile"):
        find_archives(ServerSettings(tmp_path))
    with zipfile.ZipFile(tmp_path / "a.mar", "w") as file:
        file.writestr("other", "")
    with pytest.raises(OperatorError, match=r"a\.mar: not a model archive .got KeyError"):
        find_archives(ServerSettings(tmp_path))


def test_free_ports_differ_and_given_ones_are_kept(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        free = held.getsockname()[1]
    ports = choose_ports(ServerSettings(tmp_path, port=free, management_port=0, metrics_port=0))
    assert ports.inference == free
    assert len(set(vars(ports).values())) == 5


def test_a_port_given_twice_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        free = held.getsockname()[1]
    with pytest.raises(OperatorError, match=rf"port {free} is in use.*--metrics-port"):
        choose_ports(ServerSettings(tmp_path, port=0, management_port=free, metrics_port=free))


def test_torchserve_is_told_to_be_closed(tmp_path: Path) -> None:
    told = properties(ServerSettings(tmp_path), [Archive("animals", "animals.mar", "v1")])
    addresses = {name: value for name, value in told.items() if name.endswith("_address")}
    assert len(addresses) == 5
    assert all("127.0.0.1" in value for value in addresses.values())
    assert told["disable_token_authorization"] == "false"
    assert told["enable_model_api"] == "false"
    assert told["metrics_mode"] == "prometheus"
    assert int(told["token_expiration_min"]) > 365 * 24 * 60
    assert properties(ServerSettings(tmp_path, model_api=True), [])["enable_model_api"] == "true"


def test_batches_and_workers_are_set_per_version(tmp_path: Path) -> None:
    settings = ServerSettings(tmp_path, workers=2, batch_size=16, batch_delay_ms=5, response_timeout_seconds=9)
    told = properties(settings, [Archive("animals", "animals.mar", "v1")])
    assert json.loads(told["models"]) == {
        "animals": {
            "v1": {
                "defaultVersion": True,
                "marName": "animals.mar",
                "minWorkers": 2,
                "maxWorkers": 2,
                "batchSize": 16,
                "maxBatchDelay": 5,
                "responseTimeout": 9,
            }
        }
    }
