"""What can be asked of a fine-tuning run, and the YAML file that may ask it.

What lives here: every option with its default and bounds, checked in one place for flags and files. What must not:
torch; anything that happens after the options are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from monitor.errors import OperatorError
from monitor.records import Task

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class FinetuneSettings:
    """One run. `data` and `out` are needed; None means "as the data or the architecture has it".

    Shares default to `finetune.splits.default_shares`, `name` to the last part of `out`, `version` to the time of the
    run in UTC. Relative paths count from the working directory.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    data: str
    out: Path
    name: str | None = None
    version: str | None = None
    task: Task | None = None
    classes: tuple[str, ...] = ()
    arch: str = "efficientnet_lite0"
    weights: str = "default"
    image_size: Annotated[int, Field(ge=8)] | None = None
    unfreeze: Annotated[int, Field(ge=0)] = 0
    augment: bool = False
    epochs: Annotated[int, Field(ge=1)] = 10
    patience: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    backbone_learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    validation: Share | None = None
    reference: Share | None = None
    holdout: Share | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    skip_unreadable: bool = False


def make_settings(file: Path | None, given: Mapping[str, Any]) -> FinetuneSettings:
    """Settings of a YAML file (keys as the flags, with underscores) overridden by the flags that were given.

    Raises OperatorError that lists every fault: unknown keys, wrong types, values out of bounds, what is missing.
    """
    values = {**(_read(file) if file else {}), **given}
    try:
        return TypeAdapter(FinetuneSettings).validate_python(values)
    except ValidationError as error:
        faults = [_fault(detail) for detail in error.errors(include_url=False)]
        raise OperatorError(
            f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'}: {'; '.join(faults)}",
            where=str(file) if file else "finetune",
        ) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OperatorError("not a readable YAML file", where=str(file), got=str(error)) from error
    if not isinstance(content, dict):
        raise OperatorError("a configuration maps names to values", where=str(file), got=type(content).__name__)
    return {str(key): value for key, value in content.items()}


def _fault(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{name} is not an option"
    if detail["type"] in ("missing", "missing_argument"):
        return f"{name} is missing"
    return f"{name}: {detail['msg']}, got {detail['input']!r}"
