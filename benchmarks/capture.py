"""What the capture costs: microseconds in the request thread, and TorchServe's throughput with and without it.

    python -m benchmarks.capture [--json]

First: `Capture.record` timed call by call while records come as fast as a busy server makes them (about 2,000 a
second), the spool on the disk of the temporary folder, an embedding of 1,280 numbers and ten classes. Second: two
TorchServes with the same archive, one capturing; the same clients ask them in turn, ten interleaved pairs of short
slices, and the ratio of their throughputs is the median of the pairs with a 95 % interval from its order statistics.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from PIL import Image
from scipy import stats

from monitor.records import ModelSchema, new_prediction_id
from serving.capture import Capture, CaptureSettings
from serving.record_batches import RecordShape

CLASSES = tuple("0123456789")
DIMENSION = 1280
TARGET_MEDIAN_MICROSECONDS = 20.0
TARGET_P99_MICROSECONDS = 100.0
TARGET_RATIO = 0.95
PAIRS = 10
SLICES = 4


def record_cost(spool: Path, records: int = 20_000, per_second: int = 2_000) -> dict[str, Any]:
    """Microseconds that `record` takes in the request thread, at a steady rate, while the batches are written."""
    generator = np.random.default_rng(0)
    features = {name: pa.float64() for name in ("brightness", "contrast", "sharpness")}
    shape = RecordShape(ModelSchema("digits", "classification", CLASSES), "v1", features, ("region",), DIMENSION)
    capture = Capture(CaptureSettings(spool), shape)
    probabilities = generator.dirichlet(np.ones(len(CLASSES)), records)
    embeddings = generator.normal(size=(64, DIMENSION)).astype(np.float32)
    values = {"brightness": 0.5, "contrast": 0.2, "sharpness": 0.01}
    taken = np.empty(records)
    started = time.perf_counter()
    for index in range(records):
        name = new_prediction_id()
        before = time.perf_counter_ns()
        capture.record(
            name,
            "7",
            probabilities=probabilities[index],
            features=values,
            segments={"region": "eu"},
            embedding=embeddings[index % 64],
            latency_seconds=0.01,
            request_id=name,
        )
        taken[index] = (time.perf_counter_ns() - before) / 1_000
        if index % 20 == 19:
            time.sleep(max(0.0, started + (index + 1) / per_second - time.perf_counter()))
    flushed = capture.flush(30.0)
    counters = capture.counters()
    capture.close()
    if not flushed or counters.sent != records:
        raise SystemExit(f"the capture lost records: {counters}")
    return {
        "records": records,
        "records_per_second": round(records / (time.perf_counter() - started)),
        "median_microseconds": float(np.median(taken)),
        "p99_microseconds": float(np.percentile(taken, 99)),
        "largest_microseconds": float(taken.max()),
    }


def throughput(folder: Path, seconds: float, clients: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Requests per second of two TorchServes in turn, and the ratio with capture to without."""
    from serving.torchserve.archive import archive_bundle
    from serving.torchserve.server import TorchServe
    from serving.torchserve.settings import ServerSettings

    store = folder / "store"
    archive_bundle(_bundle(folder / "digits"), store, {"segments": {"region": "X-Region"}})
    free = {"port": 0, "management_port": 0, "metrics_port": 0, "batch_size": 8, "batch_delay_ms": 2}
    with ExitStack() as stack:
        plain = stack.enter_context(TorchServe(ServerSettings(store, **free, capture={"spool": None})))
        logged = stack.enter_context(TorchServe(ServerSettings(store, **free, spool=folder / "spool")))
        servers = {"without": plain, "with": logged}
        for server in servers.values():
            _requests_per_second(server, seconds, clients)
        pairs = []
        for index in range(PAIRS):
            rates = _pair(servers, seconds, clients)
            pairs.append(rates)
            say(f"pair {index + 1}/{PAIRS}: {rates['with']:.1f}/s with, {rates['without']:.1f}/s without")
    ratios = sorted(pair["with"] / pair["without"] for pair in pairs)
    low, high = _median_interval(ratios)
    return {
        "clients": clients,
        "requests_per_second_without": statistics.median(pair["without"] for pair in pairs),
        "requests_per_second_with": statistics.median(pair["with"] for pair in pairs),
        "ratio": statistics.median(ratios),
        "ratio_interval": [low, high],
        "pairs": pairs,
    }


def _pair(servers: Mapping[str, Any], seconds: float, clients: int) -> dict[str, float]:
    """Mean rate of each server over `seconds`, in slices of which the order turns round, so that a machine that gets
    slower meanwhile is slower for both."""
    slices: dict[str, list[float]] = {name: [] for name in servers}
    for turn in range(SLICES):
        for name in sorted(servers, reverse=turn % 2 == 1):
            slices[name].append(_requests_per_second(servers[name], seconds / SLICES, clients))
    return {name: statistics.mean(rates) for name, rates in slices.items()}


def _requests_per_second(server: Any, seconds: float, clients: int) -> float:
    body, headers = _image(), {"Authorization": f"Bearer {server.inference_key}", "X-Region": "eu"}
    url = f"{server.address}/predictions/digits"
    stop = threading.Event()

    def ask() -> int:
        answered = 0
        with httpx.Client(headers=headers, timeout=30, trust_env=False) as client:
            while not stop.is_set():
                client.post(url, content=body).raise_for_status()
                answered += 1
        return answered

    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        asked = [pool.submit(ask) for _ in range(clients)]
        stop.wait(seconds)
        stop.set()
        answered = sum(future.result() for future in asked)
        return answered / (time.perf_counter() - started)


def _median_interval(ordered: list[float]) -> tuple[float, float]:
    """Order statistics that hold the median with at least 95 % (2nd and 9th of ten: 97.9 %)."""
    rank = int(stats.binom.ppf(0.025, len(ordered), 0.5))
    return ordered[max(rank - 1, 0)], ordered[min(len(ordered) - rank, len(ordered) - 1)]


def _image() -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _bundle(models: Path) -> Path:
    """A bundle with a small convolutional network, random weights, and an embedding of 1,280 numbers."""
    import torch
    from torch import nn

    class Preprocess(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            pixels = image.unsqueeze(0).to(torch.float32) / 255.0
            return nn.functional.interpolate(pixels, size=(64, 64), mode="bilinear", antialias=True).squeeze(0)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            first, second = nn.Conv2d(3, 32, 3, stride=2), nn.Conv2d(32, DIMENSION, 3, stride=4)
            self.body = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head = nn.Linear(DIMENSION, len(CLASSES))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            embedding = self.body(images)
            return self.head(embedding), embedding

    bundle = models / "v1"
    bundle.mkdir(parents=True)
    files = {"model": "model.ts.pt", "preprocess": "preprocess.ts.pt"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit")
        torch.jit.save(torch.jit.script(Network().eval()), bundle / files["model"])
        torch.jit.save(torch.jit.script(Preprocess()), bundle / files["preprocess"])
    manifest = {
        "format": 1,
        "name": "digits",
        "version": "v1",
        "task": "classification",
        "classes": CLASSES,
        "embedding_dimension": DIMENSION,
        "features": ["brightness", "contrast", "sharpness"],
        "files": {part: {"torchscript": file} for part, file in files.items()},
        "sha256": {file: sha256((bundle / file).read_bytes()).hexdigest() for file in files.values()},
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


def main() -> int:
    """Run both, print them, and fail if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement of throughput")
    parser.add_argument("--clients", type=int, default=8, help="concurrent clients")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trueup-benchmark-") as folder:
        cost = record_cost(Path(folder) / "record")
        served = throughput(Path(folder), options.seconds, options.clients, lambda line: print(line, file=sys.stderr))
    met = {
        "median": cost["median_microseconds"] <= TARGET_MEDIAN_MICROSECONDS,
        "p99": cost["p99_microseconds"] <= TARGET_P99_MICROSECONDS,
        "throughput": served["ratio"] >= TARGET_RATIO,
    }
    if options.json:
        print(json.dumps({"record": cost, "torchserve": served, "met": met}))
    else:
        low, high = served["ratio_interval"]
        print(f"record: median {cost['median_microseconds']:.1f} µs (target {TARGET_MEDIAN_MICROSECONDS:g})")
        print(f"        p99 {cost['p99_microseconds']:.1f} µs (target {TARGET_P99_MICROSECONDS:g})")
        print(
            f"TorchServe with capture / without: {served['ratio']:.3f} [{low:.3f}, {high:.3f}] (target {TARGET_RATIO})"
        )
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
