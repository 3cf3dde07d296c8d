"""How many predictions a second the daemon takes over HTTP, durable when they are answered.

`python -m benchmarks.http_ingestion [--seconds 5]`. A real daemon with fsync on every acknowledgement; records of 10
features and 3 probabilities as NDJSON, from clients in a process of their own with 4 connections, in requests of 1,000
and of 1. The processor time is the daemon's own: client and daemon share the machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

CLASSES = ("cat", "dog", "owl")
CONNECTIONS = 4
CONFIG = """
http: {{listen: "127.0.0.1:{port}"}}
ingest: {{every: 1h}}
evaluate: {{every: 1h}}
models:
  pets: {{task: classification, classes: [cat, dog, owl]}}
"""


def body(records: int, start: int, random: np.random.Generator) -> bytes:
    """That many predictions of now."""
    now = time.time()
    moments = [time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{k % 1_000_000:06d}Z" for k in range(records)]
    p = random.dirichlet(np.ones(3), records)
    values = random.normal(size=(records, 10))
    rows = (
        {
            "prediction_id": f"id-{start + k:012d}",
            "version": "1",
            "event_time": moments[k],
            "probabilities": dict(zip(CLASSES, p[k].tolist(), strict=True)),
            **{f"feature_{j}": values[k, j] for j in range(10)},
        }
        for k in range(records)
    )
    return b"\n".join(json.dumps(row).encode() for row in rows)


def send(port: int, bodies: list[bytes], until: float, times: list[float]) -> None:
    """Post bodies in turn over one connection until it is time."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    place = 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        headers = {"Content-Type": "application/x-ndjson"}
        connection.request("POST", "/v1/predictions?model=pets", bodies[place % len(bodies)], headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 202:
            sys.exit(f"{answer.status}: {content[:300]!r}")
        times.append(time.perf_counter() - started)
        place += 1
    connection.close()


def client(port: int, records: int, seconds: float) -> None:
    """Print predictions a second and the time of a request."""
    random = np.random.default_rng(1)
    bodies = [[body(records, (c * 8 + k) * records, random) for k in range(8)] for c in range(CONNECTIONS)]
    times: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    threads = [
        threading.Thread(target=send, args=(port, bodies[c], started + seconds, times[c])) for c in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - started
    every = sorted(second for part in times for second in part)
    print(
        json.dumps(
            {
                "requests": len(every),
                "seconds": taken,
                "median": statistics.median(every),
                "p99": every[-1 - len(every) // 100],
            }
        )
    )


def processor_seconds(process: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(port: int, daemon: subprocess.Popen[bytes]) -> None:
    """Until the daemon listens."""
    while daemon.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    sys.exit("the daemon did not start")


def main() -> None:
    """Measure both sizes of request against one daemon."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--client", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(*options.client, options.seconds)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "trueup.yaml"
        config.write_text(CONFIG.format(port=port))
        daemon = subprocess.Popen(
            [sys.executable, "-m", "monitor.cli", "monitor", "--config", str(config)], stderr=subprocess.DEVNULL
        )
        try:
            wait_for(port, daemon)
            for records in (1_000, 1):
                before = processor_seconds(daemon.pid)
                arguments = ["--seconds", str(options.seconds), "--client", str(port), str(records)]
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.http_ingestion", *arguments], check=True, capture_output=True
                )
                worked, said = processor_seconds(daemon.pid) - before, json.loads(done.stdout)
                count = said["requests"] * records
                print(
                    f"{records:>6,} a request {count / said['seconds']:>10,.0f} predictions/s "
                    f"{count / worked:>10,.0f} per second of the daemon's processor time "
                    f"median {said['median'] * 1e3:.1f} ms, 99th percentile {said['p99'] * 1e3:.1f} ms a request"
                )
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
