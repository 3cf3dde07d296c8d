"""Small labelled images for tests: each class has a colour, each image its own noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from finetune.data import Dataset, open_dataset

COLOURS = {"blue": (20, 40, 200), "green": (30, 180, 40), "red": (210, 30, 20)}
SIDE = 24


def coloured(name: str, index: int) -> np.ndarray:
    """uint8 [SIDE, SIDE + 4, 3], the same for the same arguments."""
    random = np.random.default_rng([sorted(COLOURS).index(name), index])
    noise = random.normal(0, 25, (SIDE, SIDE + 4, 3))
    return np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)


def write_folder(folder: Path, per_class: int = 20) -> Path:
    """A data folder with one subfolder of PNG files per colour."""
    for name in COLOURS:
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            Image.fromarray(coloured(name, index)).save(folder / name / f"{index:03}.png")
    return folder


def write_manifest(folder: Path, per_class: int = 20) -> Path:
    """The same images in one folder, with a manifest of their mean brightness: a regression."""
    folder.mkdir()
    lines = ["path,label"]
    for name in COLOURS:
        for index in range(per_class):
            pixels = coloured(name, index)
            Image.fromarray(pixels).save(folder / f"{name}-{index}.png")
            lines.append(f"{name}-{index}.png,{pixels.mean() * 10:.6f}")
    manifest = folder / "brightness.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def colours(folder: Path, per_class: int = 20) -> Dataset:
    """The data set of `write_folder`."""
    return open_dataset(str(write_folder(folder, per_class)))
