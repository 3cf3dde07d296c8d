"""The running server: closed to strangers, managed with its token; and what it says when it cannot run."""

import os
import signal
import socket
import stat
from pathlib import Path

import httpx
import psutil
import pytest

from monitor.errors import OperatorError
from serving.torchserve.archive import archive_bundle
from serving.torchserve.java import bundled_java, find_java
from serving.torchserve.management import ManagementClient
from serving.torchserve.server import TorchServe
from serving.torchserve.settings import ServerSettings
from tests.serving.bundles import encoded, make_bundle, pixels
from tests.serving.spooled import until
from tests.serving.torchserve.conftest import Served

FREE = {"port": 0, "management_port": 0, "metrics_port": 0}


def processes_of(group: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_every_socket_listens_on_loopback_only(served: Served) -> None:
    assert served.server.pid is not None
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in processes_of(served.server.pid)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_without_its_key_nothing_is_answered(served: Served) -> None:
    key = {"Authorization": f"Bearer {served.server.inference_key}"}
    for response in (
        httpx.post(f"{served.server.address}/predictions/animals", content=encoded(pixels(1))),
        httpx.get(f"{served.server.management_address}/models"),
        httpx.get(f"{served.server.management_address}/models", headers=key),
        httpx.post(f"{served.server.management_address}/models?url=animals.mar", headers=key),
    ):
        assert response.status_code == 400
        assert "Token Authorization failed" in response.text


def test_only_the_user_can_read_the_keys(served: Served) -> None:
    assert stat.S_IMODE(served.server.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(served.server.key_file.parent.stat().st_mode) == 0o700


def test_the_management_client_lists_scales_and_refuses_with_torchserves_words(served: Served) -> None:
    with served.server.management() as client:
        assert client.models() == {"animals": "animals.mar", "angle": "angle.mar"}
        [model] = client.describe("animals")
        assert (model["modelVersion"], model["batchSize"], model["maxBatchDelay"]) == ("v1", 8, 150)
        assert client.ready_workers("animals") == 1
        client.set_default("animals", "v1")
        client.scale("angle", "20260101T000000Z", 1)
        with pytest.raises(OperatorError, match=r"refused GET /models/owl/all .*404 Model not found: owl"):
            client.describe("owl")


def test_a_new_version_is_registered_made_default_and_the_old_one_removed(served: Served, tmp_path: Path) -> None:
    archive_bundle(make_bundle(tmp_path / "angle", name="angle", version="v2", task="regression"), served.store)

    def version() -> str:
        return served.client.post("/predictions/angle", content=encoded(pixels(1))).json()["version"]

    with served.server.management() as client:
        client.register("angle.mar", batch_size=4)
        assert {model["modelVersion"] for model in client.describe("angle")} == {"20260101T000000Z", "v2"}
        assert version() == "20260101T000000Z"
        client.set_default("angle", "v2")
        assert version() == "v2"
        with pytest.raises(OperatorError, match=r"refused DELETE /models/angle/v2 .*403 Cannot remove default"):
            client.unregister("angle", "v2")
        client.unregister("angle", "20260101T000000Z")
        assert [model["modelVersion"] for model in client.describe("angle")] == ["v2"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.mar", "https://example.org/x.mar", "file:///etc/passwd"])
def test_no_url_is_fetched_even_with_the_model_api_on(served: Served, url: str) -> None:
    with served.server.management() as client, pytest.raises(OperatorError, match="does not match any allowed URL"):
        client.register(url)


def test_an_address_where_nobody_listens_is_named() -> None:
    with (
        ManagementClient("http://127.0.0.1:9", "key") as client,
        pytest.raises(OperatorError, match=r"^http://127\.0\.0\.1:9: TorchServe's management API does not answer"),
    ):
        client.models()


def test_a_port_in_use_is_named_before_anything_starts(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option, name in (("port", "--port"), ("metrics_port", "--metrics-port")):
            settings = ServerSettings(served.store, **(FREE | {option: port}))
            server = TorchServe(settings)
            with pytest.raises(OperatorError, match=rf"port {port} is in use.*another port with {name} "):
                server.start()
            assert server.pid is None


def test_a_worker_that_cannot_start_is_named_with_its_reason_and_leaves_nothing(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRUEUP_HASH_KEY", raising=False)
    settings = ServerSettings(
        served.store,
        models={"animals": "animals.mar"},
        **FREE,
        spool=tmp_path / "spool",
        capture={"segments": {"region": "X-Region"}, "columns": {"hash": ["region"]}},
        work_dir=tmp_path / "work",
    )
    server = TorchServe(settings)
    groups: list[int] = []
    launch = server._launch
    monkeypatch.setattr(server, "_launch", lambda *a: (launch(*a), groups.append(server.pid or 0)))
    with pytest.raises(OperatorError) as caught:
        server.start()
    message = str(caught.value)
    assert message.startswith("model 'animals': the TorchServe worker died while starting (got ")
    assert "monitor.errors.OperatorError: columns: hash: hashing a column needs a secret key" in message
    assert message.endswith(f"The logs are in {tmp_path / 'work'}.")
    assert processes_of(groups[0]) == []
    assert not (tmp_path / "work" / "key_file.json").exists()
    assert "secret key" in (tmp_path / "work" / "models.log").read_text()


def test_a_killed_worker_is_replaced_and_noticed(served: Served) -> None:
    """The tests before ask for no deaths."""
    deaths = served.server.worker_deaths()
    with served.server.management() as client:
        [model] = client.describe("angle")
        os.kill(model["workers"][0]["pid"], signal.SIGKILL)
        until(lambda: client.describe("angle")[0]["workers"][0]["pid"] != model["workers"][0]["pid"], 30)
        until(lambda: client.ready_workers("angle") == 1, 30)
    response = served.client.post("/predictions/angle", content=encoded(pixels(1)))
    assert response.status_code == 200
    assert served.server.worker_deaths() == deaths + 1


def test_java_is_looked_for_in_java_home_then_path_then_the_bundled_one(tmp_path: Path) -> None:
    java = {name: tmp_path / name / "bin" / "java" for name in ("home", "path", "bundled")}
    for file in java.values():
        file.parent.mkdir(parents=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    home = {"JAVA_HOME": str(tmp_path / "home")}
    path = {"PATH": str(tmp_path / "path" / "bin")}
    assert find_java(home | path, java["bundled"]) == java["home"]
    assert find_java({"JAVA_HOME": str(tmp_path / "gone")} | path, java["bundled"]) == java["path"]
    assert find_java({"PATH": ""}, java["bundled"]) == java["bundled"]
    assert bundled_java() is None or bundled_java().is_file()  # type: ignore[union-attr]


def test_no_java_says_how_to_get_one() -> None:
    with pytest.raises(OperatorError, match=r"^JAVA_HOME and PATH: TorchServe needs Java, and there is none .*pip in"):
        find_java({"PATH": "/nonexistent"}, None)
