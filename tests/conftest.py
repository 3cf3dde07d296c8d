"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# Hypothesis gives an example 200 ms on the clock of the wall; a busy machine would fail properties that hold.
settings.register_profile("trueup", deadline=None)
settings.load_profile("trueup")
