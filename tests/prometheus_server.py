"""A real Prometheus for tests: started on a free loopback port, ended by the test; and every query of our files on it.

What lives here: starting, scraping, asking; reading queries out of dashboards and rules. What must not: assertions.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.export.prometheus import CONTENT_TYPE, Exposition
from monitor.export.segment_metrics import SEGMENT_STATISTICS
from monitor.export.statistic_metrics import VALUE_BY_KEY
from monitor.records import Task

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus" / "trueup-rules.yaml"
DASHBOARD = ROOT / "grafana" / "dashboards" / "trueup-model.json"
METRIC = re.compile(r"\btrueup_\w+")
_SELECTOR = re.compile(r"\b(?:trueup_\w+|up)\b(?:\{[^}]*\})?")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_POLL_SECONDS = 0.1


def _metrics(*keys: str) -> frozenset[str]:
    statistics = [VALUE_BY_KEY[key] for key in keys]
    # Of the values of segments there are some of the same statistics.
    of_segments = {item.metric for item in SEGMENT_STATISTICS if item.key in keys}
    return frozenset(name for item in statistics for name in (item.metric, item.lower, item.upper)) | of_segments


# What a model of a task does not have: the performance statistics of the other one.
_OTHER_TASK: dict[Task, frozenset[str]] = {
    "classification": _metrics(
        "mean_squared_error",
        "root_mean_squared_error",
        "mean_absolute_error",
        "r_squared",
        "bias",
        "estimated_mean_absolute_error",
        "estimated_mean_squared_error",
        "estimated_root_mean_squared_error",
        "estimated_mean_absolute_error_error",
        "estimated_mean_squared_error_error",
    )
    | {"trueup_segment_excess_squared_error"},
    "regression": _metrics(
        "accuracy",
        "balanced_accuracy",
        "precision",
        "recall",
        "f1",
        "auroc",
        "cross_entropy",
        "brier_score",
        "expected_calibration_error",
        "estimated_accuracy",
        "estimated_cross_entropy",
        "estimated_f1",
        "estimated_auroc",
        "estimated_accuracy_error",
        "estimated_cross_entropy_error",
        "estimated_f1_error",
        "estimated_auroc_error",
        "label_shift_distance",
    )
    | {"trueup_segment_excess_errors"},
}


def program(name: str) -> str:
    """Path of a Debian program that the tests run for real; fails the test where it is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing, and this test runs it for real. Run scripts/install-debian-packages.sh")
    return found


def promtool(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run promtool to its end; output and error are in one stream."""
    command = [program("promtool"), *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120
    )


@dataclass(frozen=True)
class PanelQuery:
    """One query of a dashboard, with the place where it stands."""

    row: str
    panel: str
    ref: str
    expr: str

    @property
    def metrics(self) -> frozenset[str]:
        """Names of our metrics in the expression."""
        return frozenset(METRIC.findall(self.expr))


def dashboard_queries(path: Path = DASHBOARD) -> list[PanelQuery]:
    """Every query of a dashboard in reading order, those in collapsed rows too."""
    queries: list[PanelQuery] = []
    row = ""
    for panel in json.loads(path.read_text("utf-8"))["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        for item in (panel, *panel.get("panels", ())):
            queries += [
                PanelQuery(row, item["title"], target["refId"], target["expr"]) for target in item.get("targets", ())
            ]
    return queries


def applicable(query: PanelQuery, task: Task, checks: Iterable[str], *, segments: bool = True) -> bool:
    """Whether a query can have data of a model with this task and these checks, that declares segments or none."""
    if not segments and any(metric.startswith("trueup_segment_") for metric in query.metrics):
        return False
    limited = re.findall(r'trueup_check_limit\{[^}]*check="(\w+)"', query.expr)
    return not query.metrics & _OTHER_TASK[task] and set(limited) <= set(checks)


def substituted(expr: str, variables: Mapping[str, str]) -> str:
    """An expression with the dashboard's variables filled in; raises KeyError for one that has no value."""
    return _VARIABLE.sub(lambda match: variables[match.group(1)], expr)


def rule_expressions(path: Path = RULES) -> dict[str, str]:
    """Expression of every alert by its name."""
    groups = yaml.safe_load(path.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def selectors(expr: str) -> list[str]:
    """The series selectors of an expression, without ranges and offsets."""
    return _SELECTOR.findall(expr)


class PrometheusServer:
    """A running Prometheus at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """`data` of an answer of the HTTP API; raises ValueError with Prometheus' own words where it refuses."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expr: str, at: float | None = None) -> list[dict[str, Any]]:
        """The series of an instant query: dicts with `metric` and `value`, a pair of time and text."""
        when = {} if at is None else {"time": str(at)}
        result: list[dict[str, Any]] = self.get("query", query=expr, **when)["result"]
        return result

    def value(self, expr: str) -> float | None:
        """The value of an instant query of exactly one series, None for any other number of series."""
        found = self.query(expr)
        return float(found[0]["value"][1]) if len(found) == 1 else None

    def wait_until(self, condition: Callable[[], bool], what: str, deadline_seconds: float = 30.0) -> None:
        """Poll until `condition` holds; fails the test at the deadline."""
        end = time.monotonic() + deadline_seconds
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"not within {deadline_seconds:g} s: {what}")
            time.sleep(_POLL_SECONDS)

    def wait_until_scraped(self, job: str = "trueup", scrapes: int = 1, deadline_seconds: float = 30.0) -> None:
        """Wait for so many good scrapes of every target of a job."""
        expr = f'min(sum_over_time(up{{job="{job}"}}[1h]))'
        self.wait_until(
            lambda: (self.value(expr) or 0.0) >= scrapes, f"{scrapes} good scrapes of {job}", deadline_seconds
        )

    def without_data(
        self, queries: Iterable[PanelQuery], variables: Mapping[str, str], deadline_seconds: float = 20.0
    ) -> list[PanelQuery]:
        """The queries that return nothing until the deadline; a query that Prometheus refuses raises ValueError."""
        missing = list(queries)
        end = time.monotonic() + deadline_seconds
        while missing and time.monotonic() < end:
            missing = [item for item in missing if not self.query(substituted(item.expr, variables))]
            time.sleep(_POLL_SECONDS)
        return missing

    def rules(self) -> dict[str, dict[str, Any]]:
        """State of every alerting rule by name; `health` is `ok` once it was evaluated without an error."""
        return {rule["name"]: rule for group in self.get("rules")["groups"] for rule in group["rules"]}


@contextmanager
def prometheus_server(
    folder: Path,
    targets: Mapping[str, str],
    *,
    rule_files: Iterable[Path] = (),
    interval: str = "1s",
    deadline_seconds: float = 30.0,
) -> Iterator[PrometheusServer]:
    """Run Prometheus with its data in `folder`, scraping `targets` (job to host:port) and evaluating rules."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
                "rule_files": [str(path) for path in rule_files],
                "scrape_configs": [
                    {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
                ],
            }
        )
    )
    with _running(folder, config, deadline_seconds) as server:
        yield server


@contextmanager
def _running(folder: Path, config: Path, deadline_seconds: float) -> Iterator[PrometheusServer]:
    port = free_port()
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        server = PrometheusServer(f"http://127.0.0.1:{port}")
        end = time.monotonic() + deadline_seconds
        while not _ready(server.url):
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"Prometheus did not start:\n{log.read_text('utf-8', 'replace')}")
            time.sleep(_POLL_SECONDS)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(exposition: Exposition, clock: Callable[[], float] = time.time) -> Iterator[str]:
    """Serve an exposition as the daemon does, packed for those who accept it; yields host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            packed = "gzip" in self.headers.get("Accept-Encoding", "")
            body = exposition.get_compressed(clock()) if packed else exposition.get(clock())
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            if packed:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
