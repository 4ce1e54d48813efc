"""Who calls, drawn by the seed: what they want and how they talk. Says no words."""

from dataclasses import dataclass
from enum import StrEnum

from runtime.voice.ports import Key


class Goal(StrEnum):
    BOOK = "book"
    WRONG_NUMBER = "wrong_number"
    OPT_OUT = "opt_out"
    NOT_INTERESTED = "not_interested"
    LATER = "later"
    HANG_UP = "hang_up"  # talks along and leaves in the middle of the call


_SHARES = {
    Goal.BOOK: 52,
    Goal.WRONG_NUMBER: 10,
    Goal.OPT_OUT: 10,
    Goal.NOT_INTERESTED: 9,
    Goal.LATER: 9,
    Goal.HANG_UP: 10,
}


@dataclass(frozen=True, slots=True)
class Persona:
    """`patience_us`: how long it waits in silence before it asks whether anybody is there."""

    goal: Goal
    day: str
    time: str
    reason: str
    patience_us: int
    interrupts: bool = False
    backchannels: bool = False


def draw(seed: int, call: int) -> Persona:
    """The persona of one call of a run."""
    chance = Key(seed, call, 0).chance("persona")
    goal = chance.choices(list(_SHARES), list(_SHARES.values()))[0]
    return Persona(
        goal=goal,
        day=chance.choice(("Monday", "Wednesday", "Friday")),
        time=chance.choice(("morning", "afternoon")),
        reason=chance.choice(("check-up", "cleaning", "toothache")),
        patience_us=chance.randint(6_300_000, 7_300_000),
        interrupts=chance.random() < 0.15,
        backchannels=chance.random() < 0.3,
    )
