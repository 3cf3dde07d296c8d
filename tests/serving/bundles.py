"""Tiny bundles with the real contract: two TorchScript programs and a manifest, made in milliseconds."""

import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

SIZE = 8
DIMENSION = 6
CLASSES = ("cat", "dog", "owl")


class Preprocess(nn.Module):
    """uint8 [3, H, W] → float32 [3, 8, 8]."""

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.unsqueeze(0).to(torch.float32) / 255.0
        return nn.functional.interpolate(pixels, size=(8, 8), mode="bilinear", antialias=True).squeeze(0)


class Network(nn.Module):
    """float32 [B, 3, 8, 8] → (outputs [B, K], embedding [B, 6])."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, DIMENSION, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(DIMENSION, outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.features(images)
        return self.head(embedding), embedding


def make_bundle(folder: Path, *, name: str = "animals", version: str = "v1", task: str = "classification") -> Path:
    """Write a bundle with seeded random weights into `folder`/`version`; its folder."""
    classes = CLASSES if task == "classification" else ()
    generator_state = torch.get_rng_state()
    torch.manual_seed(5)
    network = Network(len(classes) or 1).eval()
    torch.set_rng_state(generator_state)
    bundle = folder / version
    bundle.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit")
        torch.jit.save(torch.jit.script(Preprocess()), bundle / "preprocess.ts.pt")
        torch.jit.save(torch.jit.script(network), bundle / "model.ts.pt")
    write_manifest(bundle, name=name, version=version, task=task, classes=classes)
    return bundle


def write_manifest(bundle: Path, **facts: Any) -> None:
    """The manifest of the programs in `bundle`; `facts` are added or replace what it says."""
    programs = {"model": "model.ts.pt", "preprocess": "preprocess.ts.pt"}
    manifest = {
        "format": 1,
        "architecture": "tiny",
        "image_size": SIZE,
        "embedding_dimension": DIMENSION,
        "features": ["brightness", "contrast", "sharpness"],
        "created": "2026-01-01T00:00:00+00:00",
        "files": {part: {"torchscript": file} for part, file in programs.items()},
        "sha256": {file: hashlib.sha256((bundle / file).read_bytes()).hexdigest() for file in programs.values()},
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest | facts))


def run_bundle(bundle: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs [K] and embedding [D] that the programs of `bundle` give for uint8 [3, H, W]."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message=r".*torch\.jit")
        preprocess = torch.jit.load(bundle / "preprocess.ts.pt")
        model = torch.jit.load(bundle / "model.ts.pt")
        outputs, embedding = model(preprocess(torch.from_numpy(pixels)).unsqueeze(0))
    return outputs[0].numpy(), embedding[0].numpy()


def pixels(seed: int, height: int = 20, width: int = 16) -> np.ndarray:
    """A seeded random image, uint8 [3, H, W]."""
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    """An image file of uint8 [3, H, W]."""
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, kind)
    return buffer.getvalue()
