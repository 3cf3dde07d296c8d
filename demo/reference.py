"""The rows behind a bundle's reference, made again: the same images of the deterministic split, through its programs.

What lives here: the one place of the demo that runs torch. What must not: the bundle's own reference file, which is
what these rows are compared with in the end.
"""

from __future__ import annotations

from pathlib import Path

from demo.independent import Rows


def reference_rows(source: str, bundle: Path) -> Rows:
    """Rows of the reference images of a packaged set, as the bundle's TorchScript programs answer them."""
    from scipy.special import softmax

    from finetune.bundle import load_bundle
    from finetune.data import open_dataset
    from finetune.export import answer, load_script
    from finetune.splits import Shares, split

    manifest = load_bundle(bundle).manifest
    items = split(open_dataset(source), Shares(**manifest["data"]["shares"]), manifest["seed"]).reference
    outputs = answer(load_script(bundle), items).outputs.astype(float)
    classes = tuple(manifest["classes"])
    truth, images = [item.label for item in items], [item.image() for item in items]
    if not classes:
        return Rows((), outputs[:, 0].tolist(), None, truth, images)
    probabilities = softmax(outputs, axis=1)
    predicted = [classes[place] for place in outputs.argmax(axis=1)]
    return Rows(classes, predicted, probabilities, truth, images)
