"""The command as people run it: a real process that leaves a bundle, or a clear word and nothing."""

from __future__ import annotations

import ast
import io
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics

from finetune.bundle import load_bundle
from finetune.data import open_dataset
from finetune.splits import Shares, split
from monitor.profiles.codec import load_reference
from monitor.statistics.summary import reference_values
from tests.finetune.images import write_folder, write_manifest

COMMAND = [sys.executable, "-m", "finetune"]
TINY = ["--arch", "resnet18", "--weights", "none", "--image-size", "32", "--batch-size", "8"]
ROOT = Path(__file__).resolve().parents[2]


def run(environment, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    path = {**environment, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], env=path, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def script(folder: Path, name: str) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.load` is deprecated", category=FutureWarning)
        return torch.jit.load(folder / name)


def answers(folder: Path, items) -> np.ndarray:
    preprocess, model = script(folder, "preprocess.ts.pt"), script(folder, "model.ts.pt")
    with torch.no_grad():
        ready = [preprocess(torch.from_numpy(item.image())) for item in items]
        return np.concatenate([model(torch.stack(ready[i : i + 50]))[0].numpy() for i in range(0, len(ready), 50)])


def test_digits_become_a_bundle_whose_numbers_are_scikit_learns(quiet_environment, tmp_path):
    done = run(
        quiet_environment,
        "--data",
        "digits",
        "--out",
        tmp_path / "digits",
        "--image-size",
        "64",
        "--epochs",
        "10",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert "epoch 1/10  loss" in done.stderr
    assert "images/s" in done.stderr
    bundle = load_bundle(Path(facts["bundle"]))
    assert (bundle.name, bundle.manifest["architecture"]) == ("digits", "efficientnet_lite0")
    assert bundle.classes == tuple("0123456789")

    dataset = open_dataset("digits")
    parts = split(dataset, Shares(**bundle.manifest["data"]["shares"]), bundle.manifest["seed"])
    assert bundle.manifest["data"]["sha256"] == dataset.sha256
    for name in ("validation", "reference"):
        items = getattr(parts, name)
        logits = answers(bundle.folder, items)
        labels = [int(item.label) for item in items]
        said = bundle.manifest["metrics"][name]
        assert said["n"] == len(items) == bundle.manifest["data"][name]
        assert said["accuracy"] == pytest.approx(metrics.accuracy_score(labels, logits.argmax(axis=1)), abs=1e-9)
        log_loss = metrics.log_loss(labels, softmax(logits.astype(np.float64), axis=1), labels=list(range(10)))
        assert said["cross_entropy"] == pytest.approx(log_loss, abs=1e-6)
    assert said["accuracy"] > 0.85
    held = answers(bundle.folder, parts.holdout)
    assert np.mean(held.argmax(axis=1) == [int(item.label) for item in parts.holdout]) > 0.85

    values = reference_values(load_reference(bundle.folder / "reference.trueup"))
    assert values["accuracy"] == pytest.approx(said["accuracy"], abs=1e-9)
    assert values["cross_entropy"] == pytest.approx(said["cross_entropy"], abs=1e-9)


def test_a_regression_from_a_yaml_file_reports_the_mean_squared_error(quiet_environment, tmp_path):
    manifest = write_manifest(tmp_path / "set", per_class=30)
    config = tmp_path / "run.yaml"
    config.write_text(
        f"data: {manifest}\nout: {tmp_path / 'brightness'}\ntask: regression\narch: resnet18\nweights: none\n"
        "image_size: 32\nepochs: 2\nbatch_size: 8\nversion: first\n"
    )
    done = run(quiet_environment, "--config", config, "--epochs", "15")
    assert done.returncode == 0, done.stderr
    assert "mean_squared_error" in done.stdout
    bundle = load_bundle(tmp_path / "brightness" / "first")
    assert bundle.manifest["training"]["epochs"] > 2
    dataset = open_dataset(str(manifest), task="regression")
    items = split(dataset, Shares(), 0).reference
    labels = [item.label for item in items]
    expected = metrics.mean_squared_error(labels, answers(bundle.folder, items)[:, 0].astype(np.float64))
    assert bundle.manifest["metrics"]["reference"]["mean_squared_error"] == pytest.approx(expected, rel=1e-6)
    assert expected < np.var(labels)

    again = run(quiet_environment, "--config", config)
    assert again.returncode == 2
    assert "brightness/first: this version exists already. Choose another --version" in again.stderr


def read_until(stream: io.BufferedReader, text: bytes, seconds: float) -> bytes:
    deadline, seen = time.monotonic() + seconds, b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while text not in seen:
            assert selector.select(max(0.0, deadline - time.monotonic())), f"no {text!r} in {seen!r}"
            chunk = os.read(stream.fileno(), 65536)
            assert chunk, f"ended without {text!r}: {seen!r}"
            seen += chunk
    return seen


def test_an_interrupt_leaves_the_best_model_so_far(quiet_environment, tmp_path):
    data = write_folder(tmp_path / "colours")
    endless = ["--data", str(data), "--out", str(tmp_path / "model"), "--epochs", "1000000", "--patience", "1000000"]
    process = subprocess.Popen(
        [*COMMAND, *endless, *TINY], env=quiet_environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        read_until(process.stderr, b"epoch 3/", seconds=120)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert b"interrupted: the best model so far (epoch " in err
    folders = list((tmp_path / "model").iterdir())
    assert len(folders) == 1
    bundle = load_bundle(folders[0])
    assert bundle.manifest["training"]["interrupted"]
    assert bundle.manifest["training"]["epochs"] >= 3
    assert str(folders[0]).encode() in out.replace(b"\n", b"")
    assert load_reference(folders[0] / "reference.trueup").schema.classes == ("blue", "green", "red")


def test_faults_are_told_in_one_line_and_nothing_is_written(quiet_environment, tmp_path):
    done = run(
        quiet_environment, "--data", write_folder(tmp_path / "colours"), "--out", tmp_path / "m", "--arch", "resnet5"
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: resnet5: no such architecture. Did you mean")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "m").exists()


def test_options_are_checked_without_loading_torch(quiet_environment):
    code = "import sys, finetune.cli; sys.exit(any(name in sys.modules for name in ('torch', 'torchvision')))"
    assert subprocess.run([sys.executable, "-c", code], env=quiet_environment, cwd=ROOT, check=False).returncode == 0
    done = run(quiet_environment, "--epochs", "0")
    assert done.returncode == 2
    assert "data is missing; out is missing; epochs: Input should be greater" in done.stderr


def test_the_monitor_never_imports_finetune():
    files = list((ROOT / "monitor").rglob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.partition(".")[0] in ("finetune", "torch") for name in names), file
