"""The training loop: epochs over embeddings, early stopping, the best epoch kept.

What lives here: optimisation. What must not: where items come from, files, the terminal, signals.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from finetune.data import Item
from finetune.loading import crop_and_light, image_batches, in_order, shuffled
from finetune.model import Block, Network, Preprocess, unfreeze
from finetune.splits import Splits
from monitor.errors import OperatorError
from monitor.records import Task

METRIC_NAMES: dict[Task, str] = {"classification": "accuracy", "regression": "mean_squared_error"}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. Learning rates are AdamW's; `patience` is in epochs without a lower validation loss.

    `reuse_features` computes the embeddings of a frozen backbone once; without it, with `augment` or with unfrozen
    blocks the backbone runs in every epoch.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 3e-3
    backbone_learning_rate: float = 1e-4
    weight_decay: float = 1e-2
    patience: int = 5
    unfreeze: int = 0
    augment: bool = False
    reuse_features: bool = True
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    Losses are cross-entropy (nats) or, for regression, the squared error in units of the training labels' variance.
    `metric` is the validation accuracy, or the validation mean squared error in the label's own unit.
    """

    epoch: int
    training_loss: float
    validation_loss: float
    metric_name: str
    metric: float
    images_per_second: float
    best: bool


@dataclass(frozen=True)
class Training:
    """How a run went; the network has the weights of `best_epoch`."""

    epochs: tuple[EpochResult, ...]
    best_epoch: int
    interrupted: bool


class NothingLearned(Exception):
    """A stop was asked for before there was any model to keep."""


@dataclass
class Watcher:
    """What the caller hears and says during training: stages, images seen, epochs done, and whether to stop."""

    on_stage: Callable[[str, int], None] = lambda _name, _images: None
    on_images: Callable[[int], None] = lambda _: None
    on_epoch: Callable[[EpochResult], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False


Batches = Callable[[Sequence[Tensor], int], Iterator[tuple[Tensor, Tensor]]]


def fit(
    network: Network,
    preprocess: Preprocess,
    splits: Splits,
    task: Task,
    classes: Sequence[str],
    settings: TrainingSettings,
    watcher: Watcher | None = None,
) -> Training:
    """Train the head (and `unfreeze` blocks) of `network` in place; the epoch of least validation loss is kept.

    Asked to stop, it keeps the best epoch so far, or the unfinished first one. Raises NothingLearned if even that has
    not begun, OperatorError if the validation loss is not finite in the first epoch.
    """
    run = _Run.prepare(network, preprocess, splits, task, classes, settings, watcher or Watcher())
    results: list[EpochResult] = []
    best, kept, interrupted = None, run.state(), False
    for epoch in range(1, settings.epochs + 1):
        result, interrupted = run.epoch(epoch, best)
        if result is None:
            break
        results.append(result)
        if result.best:
            best, kept = result, run.state()
        run.watcher.on_epoch(result)
        if interrupted or best is None or epoch - best.epoch >= settings.patience:
            break
    if best is None:
        raise OperatorError(
            "the validation loss is not finite",
            where="epoch 1",
            got=str(results[-1].validation_loss),
            hint="Lower the learning rate: --learning-rate.",
        )
    network.load_state_dict(kept, strict=False)
    network.eval()
    return Training(tuple(results), best.epoch, interrupted)


def standardisation(items: Sequence[Item]) -> tuple[float, float]:
    """Mean and standard deviation (1 if there is none) of regression labels, in their unit."""
    labels = torch.tensor([float(item.label) for item in items], dtype=torch.float64)
    deviation = float(labels.std(correction=0))
    return float(labels.mean()), deviation if deviation > 0 else 1.0


def _sources(
    network: Network, preprocess: Preprocess, splits: Splits, settings: TrainingSettings, watcher: Watcher
) -> tuple[Batches, Batches]:
    """Embeddings of the training and of the validation items: looked up where they cannot change, else computed."""
    frozen = settings.unfreeze == 0
    augment = crop_and_light if settings.augment else None

    def computed(items: Sequence[Item], augmented: bool) -> Batches:
        def batches(chunks: Sequence[Tensor], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            changed = augment if augmented else None
            draw = settings.seed * 10_007 + epoch
            for images, chunk in image_batches(items, chunks, preprocess, augment=changed, seed=draw):
                # The caller decides on gradients; a frozen backbone has none to keep in any case.
                yield network.backbone(images.to(settings.device)), chunk
                watcher.on_images(len(chunk))

        return batches

    def looked_up(items: Sequence[Item]) -> Batches:
        watcher.on_stage("computing features", len(items))
        features = _features(computed(items, False), in_order(len(items), settings.batch_size), watcher)

        def batches(chunks: Sequence[Tensor], _epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            for chunk in chunks:
                yield features[chunk.to(features.device)], chunk
                watcher.on_images(len(chunk))

        return batches

    reuse = settings.reuse_features and frozen
    training = looked_up(splits.train) if reuse and augment is None else computed(splits.train, True)
    return training, looked_up(splits.validation) if reuse else computed(splits.validation, False)


def _features(batches: Batches, chunks: Sequence[Tensor], watcher: Watcher) -> Tensor:
    found = []
    with torch.no_grad():
        for embedding, _ in batches(chunks, 0):
            found.append(embedding)
            if watcher.should_stop():
                raise NothingLearned
    return torch.cat(found)


@dataclass(frozen=True, eq=False)
class _Run:
    """What all epochs of one training share."""

    network: Network
    trained: tuple[Block, ...]
    task: Task
    settings: TrainingSettings
    watcher: Watcher
    training: tuple[Batches, Tensor]
    validation: tuple[Batches, Tensor]
    optimiser: torch.optim.Optimizer
    generator: torch.Generator

    @classmethod
    def prepare(
        cls,
        network: Network,
        preprocess: Preprocess,
        splits: Splits,
        task: Task,
        classes: Sequence[str],
        settings: TrainingSettings,
        watcher: Watcher,
    ) -> Self:
        """Unfreeze, compute what can be reused, set up the optimiser."""
        network.to(settings.device)
        trained = unfreeze(network, settings.unfreeze)
        training, validation = _sources(network, preprocess, splits, settings, watcher)
        return cls(
            network,
            trained,
            task,
            settings,
            watcher,
            (training, _targets(splits.train, task, classes)),
            (validation, _targets(splits.validation, task, classes)),
            _optimiser(network, settings),
            torch.Generator().manual_seed(settings.seed),
        )

    def epoch(self, epoch: int, best: EpochResult | None) -> tuple[EpochResult | None, bool]:
        """One epoch: its result, and whether it was interrupted; no result if an earlier one is kept instead."""
        batches, targets = self.training
        self.watcher.on_stage(f"epoch {epoch}", len(targets))
        started = time.perf_counter()
        chunks = shuffled(len(targets), self.settings.batch_size, self.generator)
        loss, seen, interrupted = self._train(batches(chunks, epoch))
        rate = seen / max(time.perf_counter() - started, 1e-9)
        if interrupted and best is not None:
            return None, True
        validation_loss, metric = self._validate()
        better = math.isfinite(validation_loss) and (best is None or validation_loss < best.validation_loss)
        name = METRIC_NAMES[self.task]
        return EpochResult(epoch, loss, validation_loss, name, metric, rate, better), interrupted

    def state(self) -> dict[str, Tensor]:
        """A copy of what training can change."""
        whole = self.network.state_dict()
        return {name: value.clone() for name, value in whole.items() if self.trained or name.startswith("head.")}

    def _train(self, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[float, int, bool]:
        """One pass: mean loss, items seen, and whether it was cut short."""
        total, seen = 0.0, 0
        self._set_mode(training=True)
        for embedding, chunk in batches:
            loss = self._loss(self.network.answer(embedding), self.training[1][chunk])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.item() * len(chunk)
            seen += len(chunk)
            if self.watcher.should_stop():
                return total / seen, seen, True
        return total / seen, seen, False

    def _validate(self) -> tuple[float, float]:
        """Loss and metric over all validation items."""
        batches, targets = self.validation
        self._set_mode(training=False)
        with torch.no_grad():
            chunks = in_order(len(targets), self.settings.batch_size)
            outputs = torch.cat([self.network.answer(embedding) for embedding, _ in batches(chunks, 0)])
            loss = float(self._loss(outputs, targets))
        if self.task == "regression":
            return loss, float(functional.mse_loss(outputs[:, 0].cpu().double(), targets.double()))
        return loss, float((outputs.argmax(dim=1).cpu() == targets).double().mean())

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = targets.to(outputs.device)
        if self.task == "classification":
            return functional.cross_entropy(outputs, wanted)
        return functional.mse_loss(outputs[:, 0] / self.network.scale, wanted / self.network.scale)

    def _set_mode(self, *, training: bool) -> None:
        # Only unfrozen blocks ever train: the BatchNorm of a frozen one keeps its statistics.
        for block in self.trained:
            for layer in block.layers:
                layer.train(training)


def _optimiser(network: Network, settings: TrainingSettings) -> torch.optim.Optimizer:
    groups = [{"params": list(network.head.parameters()), "lr": settings.learning_rate}]
    unfrozen = [parameter for parameter in network.backbone.parameters() if parameter.requires_grad]
    if unfrozen:
        groups.append({"params": unfrozen, "lr": settings.backbone_learning_rate})
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)


def _targets(items: Sequence[Item], task: Task, classes: Sequence[str]) -> Tensor:
    if task == "regression":
        return torch.tensor([float(item.label) for item in items])
    position = {name: index for index, name in enumerate(classes)}
    return torch.tensor([position[str(item.label)] for item in items])
