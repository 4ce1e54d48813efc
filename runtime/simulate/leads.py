"""Whom a simulated call rings: somebody new, or somebody who had no time or hung up. Makes no pseudonym."""

from runtime.simulate.persona import Goal, draw
from runtime.voice.ports import Key

# How many calls later somebody is rung again.
AGAIN_MIN, AGAIN_MAX = 8, 16
_RUNG_AGAIN = (Goal.LATER, Goal.HANG_UP)  # never who opted out


def person(seed: int, call: int) -> int:
    """Who is rung by one call of a run, as the number of the first call to the same person."""
    for earlier in range(max(0, call - AGAIN_MAX), call - AGAIN_MIN + 1):
        if earlier + _pause(seed, earlier) == call and draw(seed, earlier).goal in _RUNG_AGAIN:
            return person(seed, earlier)
    return call


def _pause(seed: int, call: int) -> int:
    return Key(seed, call, 0).chance("again").randint(AGAIN_MIN, AGAIN_MAX)
