"""A foreign span as the door keeps it: facts by an allow-list, words apart. Decides nothing about it."""

from enum import StrEnum

from msgspec import Struct

Fact = int | float | bool | str
MICROS_MAX = 2**32 - 1  # what a duration of the log holds


class Dialect(StrEnum):
    """Who made the span, by its instrumentation scope."""

    PIPECAT = "pipecat"
    LIVEKIT = "livekit"
    OTHER = "other"


class ForeignSpan(Struct, frozen=True, gc=False, omit_defaults=True):
    """Ids are hexadecimal, moments µs since 1970. `words` are (attribute, text) and empty when they are not wanted.

    `said` and `called`: the model's text, and its calls of tools, were not empty. `marks` are names of events.
    """

    trace: str
    span: str
    parent: str
    dialect: Dialect
    name: str
    start_us: int
    end_us: int
    failed: bool = False
    said: bool = False
    called: bool = False
    facts: dict[str, Fact] = {}
    about: dict[str, str] = {}  # of the process that sent it
    marks: tuple[str, ...] = ()
    words: tuple[tuple[str, str], ...] = ()

    def number(self, fact: str) -> float | None:
        """A figure; none when it is missing or makes no sense as a duration or a count."""
        value = self.facts.get(fact)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None

    def micros(self, fact: str) -> int | None:
        """A duration that was given in seconds; a missing one, and LiveKit's 0 for a missing one, is none."""
        seconds = self.number(fact)
        return round(seconds * 1e6) if seconds and seconds < MICROS_MAX / 1e6 else None

    def text(self, fact: str) -> str:
        value = self.facts.get(fact)
        return value if isinstance(value, str) else ""

    def flag(self, fact: str) -> bool:
        return self.facts.get(fact) is True

    @property
    def duration_us(self) -> int:
        return min(self.end_us - self.start_us, MICROS_MAX)

    @property
    def weight(self) -> int:
        """About what it takes in memory, in bytes."""
        return 1_000 + 100 * (len(self.facts) + len(self.about)) + sum(100 + 4 * len(text) for _, text in self.words)
