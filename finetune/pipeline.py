"""A whole run, in order: data, splits, model, training, programs, metrics, reference, bundle.

What lives here: the wiring, one straight function. What must not: formulas, the terminal, signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finetune.backbones import load_backbone
from finetune.bundle import REFERENCE, version_at, version_folder, write_manifest, writing
from finetune.data import Dataset, Item, open_dataset
from finetune.evaluation import classification_metrics, regression_metrics, softmax
from finetune.export import Answers, answer, check_parity, load_script, write_programs
from finetune.model import build_network
from finetune.progress import Listener
from finetune.reference import reference_table
from finetune.settings import FinetuneSettings
from finetune.splits import Shares, Splits, absent_classes, default_shares, split
from finetune.train import EpochResult, Training, TrainingSettings, Watcher, fit, standardisation
from monitor.errors import OperatorError
from monitor.profiles.codec import save_reference
from monitor.profiles.model_profile import build_reference
from monitor.records import ModelSchema
from serving.image_features import FEATURE_NAMES

# So many reference images go through every program and the eager network before a bundle is accepted.
PARITY_IMAGES = 8


def finetune(settings: FinetuneSettings, listener: Listener | None = None, now: datetime | None = None) -> Path:
    """Fine-tune as `settings` say and return the folder of the new bundle.

    Raises OperatorError or RecordError with nothing written; NothingLearned if stopped before there was a model.
    """
    listener = listener or Listener()
    created = now or datetime.now(UTC)
    version = settings.version or version_at(created)
    folder = version_folder(settings.out, version)
    torch.manual_seed(settings.seed)

    listener.stage("reading data")
    dataset = open_dataset(
        settings.data,
        task=settings.task,
        classes=settings.classes,
        skip_unreadable=settings.skip_unreadable,
        on_item=listener.images,
    )
    shares = _shares(settings)
    splits = split(dataset, shares, settings.seed)
    _tell(dataset, splits, listener)
    schema = ModelSchema(settings.name or settings.out.resolve().name, dataset.task, dataset.classes)

    backbone = load_backbone(settings.arch, settings.weights, settings.image_size)
    shift, scale = standardisation(splits.train) if dataset.task == "regression" else (0.0, 1.0)
    network, preprocess = build_network(
        backbone, len(dataset.classes) or 1, seed=settings.seed, scale=scale, shift=shift
    )
    training = fit(
        network, preprocess, splits, dataset.task, dataset.classes, _training(settings), _watcher(settings, listener)
    )
    network.cpu()

    with writing(folder) as draft:
        listener.stage("exporting programs")
        write_programs(network, preprocess, draft)
        samples = [item.image() for item in splits.reference[:PARITY_IMAGES]]
        parity = check_parity(network, preprocess, draft, samples)
        programs = load_script(draft)
        listener.stage("reference", len(splits.validation) + len(splits.reference))
        answers = {
            name: answer(programs, getattr(splits, name), settings.batch_size, listener.images)
            for name in ("validation", "reference")
        }
        table = reference_table(schema, version, splits.reference, answers["reference"], created)
        save_reference(build_reference(schema, table), draft / REFERENCE)
        facts = {
            "name": schema.model,
            "version": version,
            "task": dataset.task,
            "classes": list(dataset.classes),
            "architecture": settings.arch,
            "image_size": backbone.image_size,
            "embedding_dimension": backbone.dimension,
            "features": list(FEATURE_NAMES),
            "created": created.astimezone(UTC).isoformat(),
            "seed": settings.seed,
            "data": _data_facts(dataset, splits, shares),
            "code": {"trueup": package_version("trueup"), "torch": torch.__version__},
            "metrics": {name: _metrics(dataset, getattr(splits, name), found) for name, found in answers.items()},
            "training": _training_facts(settings, training, parity),
        }
        write_manifest(draft, facts)
    return folder


def _shares(settings: FinetuneSettings) -> Shares:
    usual = default_shares(settings.data)
    return Shares(
        usual.validation if settings.validation is None else settings.validation,
        usual.reference if settings.reference is None else settings.reference,
        usual.holdout if settings.holdout is None else settings.holdout,
    )


def _training(settings: FinetuneSettings) -> TrainingSettings:
    return TrainingSettings(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        backbone_learning_rate=settings.backbone_learning_rate,
        patience=settings.patience,
        unfreeze=settings.unfreeze,
        augment=settings.augment,
        seed=settings.seed,
        device=_device(settings.device),
    )


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise OperatorError(
            "no such device", where="--device", expected="auto, cpu, cuda or cuda:N", got=name
        ) from error
    return name


def _watcher(settings: FinetuneSettings, listener: Listener) -> Watcher:
    def on_epoch(result: EpochResult) -> None:
        listener.epoch(result, settings.epochs)

    return Watcher(listener.stage, listener.images, on_epoch, listener.should_stop)


def _tell(dataset: Dataset, splits: Splits, listener: Listener) -> None:
    sizes = ", ".join(f"{name} {len(part)}" for name, part in vars(splits).items())
    listener.note(f"{dataset.name}: {len(dataset.items)} images; {sizes}")
    missing = absent_classes(dataset, splits.reference)
    if missing:
        listener.note(f"classes without a reference image, whose drift and performance say less: {', '.join(missing)}")


def _data_facts(dataset: Dataset, splits: Splits, shares: Shares) -> dict[str, Any]:
    sizes = {name: len(part) for name, part in vars(splits).items()}
    return {"name": dataset.name, "sha256": dataset.sha256, **sizes, "shares": asdict(shares)}


def _metrics(dataset: Dataset, items: Sequence[Item], answers: Answers) -> dict[str, Any]:
    if dataset.task == "regression":
        labels = np.array([float(item.label) for item in items])
        return regression_metrics(answers.outputs[:, 0].astype(np.float64), labels)
    positions = np.array([dataset.classes.index(str(item.label)) for item in items])
    return classification_metrics(softmax(answers.outputs), positions, dataset.classes)


def _training_facts(settings: FinetuneSettings, training: Training, parity: float) -> dict[str, Any]:
    return {
        "weights": settings.weights,
        "unfrozen_blocks": settings.unfreeze,
        "augmented": settings.augment,
        "epochs": len(training.epochs),
        "best_epoch": training.best_epoch,
        "interrupted": training.interrupted,
        "parity": parity,
    }
