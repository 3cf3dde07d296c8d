"""What a run tells while it works, and the terminal that shows it.

What lives here: the listener's shape and its Rich form. What must not: any decision about the run but when to stop.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from finetune.train import EpochResult


class Listener:
    """Hears of stages, images and epochs, and is asked whether to stop. This one is silent and never stops."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins, of `total` images if that is known."""

    def images(self, count: int) -> None:
        """`count` more images of the stage are done."""

    def epoch(self, result: EpochResult, of: int) -> None:
        """An epoch is done."""

    def note(self, text: str) -> None:
        """Something the operator should know."""

    def should_stop(self) -> bool:
        """Whether to keep the best model so far and finish."""
        return False


class Terminal(Listener):
    """A progress bar on standard error, and one line per epoch that stays."""

    def __init__(self) -> None:
        self.stopping = False
        self.console = Console(stderr=True, soft_wrap=True, highlight=False)
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate()
        self._progress = Progress(*columns, console=self.console, transient=True)
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, name: str, total: int | None = None) -> None:
        """Start the bar anew."""
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total)

    def images(self, count: int) -> None:
        """Move the bar."""
        self._progress.advance(self._task, count)

    def epoch(self, result: EpochResult, of: int) -> None:
        """Print the epoch's line."""
        self.console.print(
            f"epoch {result.epoch}/{of}  loss {result.training_loss:.4f}  validation {result.validation_loss:.4f}  "
            f"{result.metric_name} {result.metric:.4f}  {result.images_per_second:,.0f} images/s"
            f"{'  best' if result.best else ''}"
        )

    def note(self, text: str) -> None:
        """Print the note."""
        self.console.print(text)

    def should_stop(self) -> bool:
        """Whether a signal has asked to stop."""
        return self.stopping


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} images/s")
