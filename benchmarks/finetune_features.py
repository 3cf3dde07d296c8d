"""How much faster fine-tuning is when the features of a frozen backbone are computed once.

Ten epochs on the packaged digits with frozen EfficientNet-Lite0, twice from the same seed: features reused, and the
plain loop that runs the backbone in every epoch. Prints times, the ratio (claimed: at least 7) and both reference
accuracies (claimed: within 0.5 points). Times are of training alone: reading, export and reference are the same.

    python benchmarks/finetune_features.py [--json] [--images N] [--pairs N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# As `python -m finetune` does: other work on the machine must not decide the ratio.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import numpy as np
import torch

from finetune.backbones import load_backbone
from finetune.data import open_dataset
from finetune.loading import image_batches, in_order
from finetune.model import build_network
from finetune.splits import Splits, default_shares, split
from finetune.train import TrainingSettings, fit

SEED = 0
EPOCHS = 10
IMAGE_SIZE = 64
CLAIMED_RATIO = 7.0
CLAIMED_ACCURACY_POINTS = 0.5


@dataclass(frozen=True)
class Measurement:
    """One training: wall seconds, and accuracy on the reference split."""

    seconds: float
    accuracy: float


def train_once(splits: Splits, classes: tuple[str, ...], *, reuse_features: bool) -> Measurement:
    """Train a new head for all epochs and measure it."""
    backbone = load_backbone("efficientnet_lite0", image_size=IMAGE_SIZE)
    network, preprocess = build_network(backbone, len(classes), seed=SEED)
    settings = TrainingSettings(epochs=EPOCHS, patience=EPOCHS, seed=SEED, reuse_features=reuse_features)
    started = time.perf_counter()
    fit(network, preprocess, splits, "classification", classes, settings)
    seconds = time.perf_counter() - started
    hits = 0
    with torch.no_grad():
        for images, chunk in image_batches(splits.reference, in_order(len(splits.reference), 64), preprocess):
            answers = network(images)[0].argmax(dim=1).tolist()
            labels = [splits.reference[index].label for index in chunk.tolist()]
            hits += sum(classes[answer] == label for answer, label in zip(answers, labels, strict=True))
    return Measurement(seconds, hits / len(splits.reference))


def measure(images: int | None, pairs: int) -> dict[str, object]:
    """Medians over interleaved pairs, the ratio, and whether the claims hold."""
    dataset = open_dataset("digits")
    splits = split(dataset, default_shares("digits"), SEED)
    if images is not None:
        splits = replace(splits, train=splits.train[:images])
    reused, plain = [], []
    for _ in range(pairs):
        reused.append(train_once(splits, dataset.classes, reuse_features=True))
        plain.append(train_once(splits, dataset.classes, reuse_features=False))
    ratios = [slow.seconds / fast.seconds for slow, fast in zip(plain, reused, strict=True)]
    points = 100 * abs(reused[0].accuracy - plain[0].accuracy)
    return {
        "images": len(splits.train) + len(splits.validation),
        "epochs": EPOCHS,
        "threads": torch.get_num_threads(),
        "reused": asdict(Measurement(statistics.median(m.seconds for m in reused), reused[0].accuracy)),
        "plain": asdict(Measurement(statistics.median(m.seconds for m in plain), plain[0].accuracy)),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "accuracy_difference_points": points,
        "holds": bool(np.median(ratios) >= CLAIMED_RATIO and points <= CLAIMED_ACCURACY_POINTS),
    }


def main() -> None:
    """Print the table, or JSON with --json; exit 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--images", type=int, default=None, help="train on the first N images only")
    parser.add_argument("--pairs", type=int, default=3, help="interleaved pairs to take the median of")
    options = parser.parse_args()
    found = measure(options.images, options.pairs)
    if options.json:
        print(json.dumps(found))
    else:
        print(f"{found['images']} images, {EPOCHS} epochs, {found['threads']} threads, EfficientNet-Lite0 at 64 px")
        print(f"{'':24}{'seconds':>10}{'accuracy':>10}")
        for name in ("plain", "reused"):
            row = found[name]
            print(f"{'features ' + name if name == 'reused' else 'plain loop':24}", end="")
            print(f"{row['seconds']:>10.2f}{row['accuracy']:>10.4f}")
        print(f"{'ratio':24}{found['ratio']:>10.2f}   (claimed: at least {CLAIMED_RATIO:g})")
        difference = found["accuracy_difference_points"]
        print(f"{'accuracy difference':24}{difference:>10.2f}   points (claimed: at most {CLAIMED_ACCURACY_POINTS:g})")
    sys.exit(0 if found["holds"] else 1)


if __name__ == "__main__":
    main()
