"""Alarms of a real daemon: on /metrics, over HTTP, and by `trueup alarms`."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.alarm_bench import ACCURACY, PSI, AlarmBench, settings, traffic, truth
from tests.daemon_process import free_port, run_command, running_daemon, wait_until, write_config
from tests.test_daemon import Traffic


def test_a_drift_fires_on_the_metrics_over_http_and_on_the_command_line(tmp_path: Path) -> None:
    port = free_port()
    checks = {
        "accuracy": {"critical": "-10%"},
        "drift": {"psi": {"warning": 0.1}},
        "estimated_accuracy": {"critical": "< 0.1"},
    }
    config = write_config(tmp_path, port, season={"length": "off", "observe": "10s"}, checks=checks)
    where = {"model": "pets", "version": "1", "check": "population_stability_index"}
    with running_daemon(config, port) as daemon:
        # Its ages are seven whole numbers, its cities one: nothing like the reference.
        httpx.post(f"{daemon.url}/v1/predictions", json=Traffic(1).records(), timeout=30)
        wait_until(lambda: daemon.value("trueup_alarm_state", **where, state="firing") == 1.0, "the alarm fires")
        metrics = daemon.metrics()
        assert daemon.value("trueup_alarm_budget_share_ratio", **where) == 0.5
        evidence, needed = (daemon.value(f"trueup_alarm_evidence_{name}nats", **where) for name in ("", "threshold_"))
        assert evidence is not None
        assert needed is not None
        assert evidence > needed
        assert {labels["check"] for labels, _ in metrics["trueup_alarm_state"]} == {"accuracy", where["check"]}
        told = httpx.get(f"{daemon.url}/v1/models/pets/alarms").json()
    fired = {alarm["check"]: alarm for alarm in told["alarms"]}[where["check"]]
    assert (fired["state"], fired["fired"], fired["observation"]) == ("firing", 1, "10s")
    assert {"age", "city"} <= {column["column"] for column in fired["explanation"]["columns"]}
    assert told["unwatched"]["1"]["estimated_accuracy"].startswith("no evidence is weighed")
    shown = run_command("alarms", "--config", config)
    assert shown.returncode == 0, shown.stderr
    for text in (
        "at most 1 per 90d by chance",
        "firing",
        "columns moved since",
        "The budget holds where",
        "has no alarm",
    ):
        assert text in shown.stdout
    alarms = json.loads(run_command("alarms", "--config", config, "--json", "--model", "pets").stdout)
    assert alarms["models"][0]["alarms"] == told["alarms"]


def test_before_the_first_evaluation_there_is_nothing_to_show_and_nothing_is_made(tmp_path: Path) -> None:
    done = run_command("alarms", "--config", write_config(tmp_path, free_port()))
    assert done.returncode == 2
    assert "nothing was evaluated yet" in done.stderr
    assert not (tmp_path / "trueup-data" / "state.db").exists()


def test_alarms_that_rest_on_nothing_yet_are_shown_with_dashes(tmp_path: Path) -> None:
    bench = AlarmBench(tmp_path, settings(tmp_path, PSI, ACCURACY))
    batch = traffic(0, rows=20)
    bench.send(batch, truth(batch, 0.1))
    bench.run(1)
    bench.state.close()
    config = tmp_path / "trueup.yaml"
    config.write_text(
        "state: {url: 'sqlite:///state.db'}\nmodels: {pets: {reference: reference.trueup, false_alarms: 1 per 30d}}\n"
    )
    done = run_command("alarms", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "too few rows" in done.stdout
    assert "at most 1 per 30d by chance" in done.stdout
