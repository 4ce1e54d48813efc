"""The ports of a call's voice side: ears (ASR), voice (TTS) and the caller. Data and Protocols, no work.

Whatever a port yields carries the absolute time at which it arrives, on the call's clock. A live engine
stamps arrivals; a simulated one may say a moment that is still to come, and the call waits for it.
"""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

MEANT_US_MIN = 400_000  # a shorter speech is a backchannel ("mm-hm") and claims no turn


@dataclass(frozen=True, slots=True)
class Key:
    """Names a turn of a call of a run; chance comes from it alone, never from the order of concurrent calls."""

    seed: int
    call: int
    turn: int

    def chance(self, part: str) -> random.Random:
        """A generator of its own for one part of the turn, the same in every run and on every machine."""
        return random.Random(f"{self.seed}/{self.call}/{self.turn}/{part}")


@dataclass(frozen=True, slots=True)
class Maker:
    """Who made a span's work: bounded names from configuration."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Speech:
    """The caller speaks `after_us` later than what it reacts to."""

    text: str
    duration_us: int
    after_us: int = 0


@dataclass(frozen=True, slots=True)
class HangUp:
    """The caller leaves `after_us` later than what it reacts to."""

    after_us: int = 0


Move = Speech | HangUp


@dataclass(frozen=True, slots=True)
class Heard:
    """A transcript so far; the last one of a speech is final."""

    at_us: int
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class Sentence:
    """A piece of text that the voice may begin with, from `at_us` on."""

    at_us: int
    text: str


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """`text` is what begins to be spoken with this chunk, empty in between."""

    at_us: int
    duration_us: int
    text: str = ""


class Ears(Protocol):
    @property
    def maker(self) -> Maker: ...

    def hear(self, speech: Speech, ended_us: int, key: Key) -> AsyncIterator[Heard]:
        """Transcripts of a speech that ended at `ended_us`. Raises ProviderFailed."""


class Voice(Protocol):
    @property
    def maker(self) -> Maker: ...

    def speak(self, sentences: AsyncIterator[Sentence], key: Key) -> AsyncIterator[AudioChunk]:
        """One utterance, in chunks in the order of their arrival. Raises ProviderFailed."""


class Caller(Protocol):
    """Both methods answer from what they are given, without memory: they may be asked what is then not done."""

    def overlap(self, turn: int, begun: str) -> Move | None:
        """What the caller does while the agent speaks, counted from the agent's first audio."""

    def reply(self, turn: int, said: str, unanswered: int) -> Move:
        """What the caller does when the agent has said `said`, counted from the agent's last audio.

        With `said` empty: what it does when it hears nothing, counted from its own last word, having
        been left without an answer `unanswered` times before.
        """
