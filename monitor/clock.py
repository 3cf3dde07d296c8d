"""What the time is believed to be when the clock on the wall jumps.

What lives here: the rule, in integer microseconds since the epoch. What must not: clocks (`now` is an argument).
"""

from __future__ import annotations

from dataclasses import dataclass

from monitor.windows import MICROSECONDS

# How far a clock may be behind and be believed to have been right before, whatever is known of it: a day, and an hour
# of summer time. And how long one must have run before it is believed against another that is further away.
CLOCK_TRUST = 90_000 * MICROSECONDS
# Two clocks that are read one after the other differ by less.
_SAME = MICROSECONDS


@dataclass(frozen=True)
class BelievedClock:
    """The latest moment that the clock is believed to have been at, and what speaks for it; all in µs.

    `reached`: that moment; while the clock is behind it, it goes on by the time that passes. `ran`: for how long it had
    run there without a jump ahead of more than CLOCK_TRUST. `set_back`: what the clock showed when it was first found
    behind, None while it is not.
    """

    reached: int
    ran: int = 0
    set_back: int | None = None

    @property
    def established(self) -> bool:
        """Whether it has run for long enough to be believed."""
        return self.ran >= CLOCK_TRUST


def believed_clock(known: BelievedClock | None, now: int, elapsed: int) -> BelievedClock:
    """What is believed after the clock shows `now`; `elapsed` is what has passed since `known`, 0 where nobody knows.

    Of a clock that is set back one of two times is wrong, and nothing tells which. The one that has run longer is
    believed: what it had reached goes on for as long as it had run before, and then the clock as it is decides. A time
    in which it ran for less than a day, having jumped there, is forgotten at once: a clock that once showed 2099 opens
    the guard to nothing. By up to CLOCK_TRUST what it had reached is believed in any case, and for that long at most,
    since a jump ahead of that size is not told from a time in which nobody looked.
    """
    if known is None:
        return BelievedClock(now)
    expected = known.reached + elapsed
    behind = expected - now
    if behind <= _SAME:
        reached = max(now, known.reached)
        return BelievedClock(reached, known.ran + reached - known.reached if -behind <= CLOCK_TRUST else 0)
    set_back = now if known.set_back is None else min(known.set_back, now)
    trusted = CLOCK_TRUST if behind <= CLOCK_TRUST else known.ran if known.established else 0
    if trusted and now - set_back <= trusted:
        return BelievedClock(expected, known.ran, set_back)
    return BelievedClock(now, now - set_back)
