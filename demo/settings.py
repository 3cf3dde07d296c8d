"""How the demo is to run: how long, how many images, where, and the two lengths of window that follow.

What lives here: settings and phases with their reasons. What must not: processes, numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import OperatorError
from monitor.records import Task

# The packaged image sets that the demo can run on; a model has the name of its set.
TASKS: Mapping[str, Task] = {"digits": "classification", "digits-rotation": "regression"}

# Of every so many answers one never gets a label, so that coverage is a number and not just 1.
UNLABELLED_EVERY = 25
# No image is due in the last seconds of a phase, and none is sent in the last half of these: an answer must come before
# the phase's window ends, or nobody outside of the server knows which window it is in.
GUARD_SECONDS = 3.0
# A phase has so many short windows; what the view shows as "now" is the last of these.
SHORT_WINDOWS = 3


@dataclass(frozen=True)
class Phase:
    """A stretch of traffic as long as one window: its name, and whether images are corrupted in it."""

    name: str
    corrupted: bool
    story: str


PHASES = (
    Phase("clean", False, "Held-out images, as the model was made for."),
    Phase("corrupted", True, "The same images: a third noisy, a third blurred, a third pale."),
    Phase("recovered", False, "Clean images again."),
)


@dataclass(frozen=True)
class DemoSettings:
    """One run. Ports of 0 are any free ones; `images` per phase at most (all held-out ones if None)."""

    folder: Path = Path("demo-output")
    models: tuple[str, ...] = ("digits",)
    once: bool = False
    phase_seconds: int = 30
    label_delay_seconds: float = 12.0
    images: int | None = None
    image_size: int = 96
    epochs: int = 15
    port: int = 0
    monitor_port: int = 0

    def __post_init__(self) -> None:
        if self.phase_seconds % SHORT_WINDOWS or self.phase_seconds <= 2 * GUARD_SECONDS:
            raise OperatorError(
                "a phase is three windows of whole seconds",
                where="--phase-seconds",
                expected=f"a multiple of {SHORT_WINDOWS} over {2 * GUARD_SECONDS:g}",
                got=str(self.phase_seconds),
            )

    @property
    def short_window(self) -> str:
        """Name of the short window."""
        return f"{self.phase_seconds // SHORT_WINDOWS}s"

    @property
    def phase_window(self) -> str:
        """Name of the window that is as long as a phase, and starts with it."""
        return f"{self.phase_seconds}s" if self.phase_seconds < 60 else _minutes(self.phase_seconds)

    @property
    def run_folder(self) -> Path:
        """Models, logs and state of the run; emptied by the next."""
        return self.folder / "run"


def _minutes(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if rest else f"{minutes}m"
