"""Ears and a voice without audio: seeded times and lengths, no samples. They never wait, they say when."""

import math
import random
from collections.abc import AsyncIterator

from runtime.voice.ports import AudioChunk, Heard, Key, Maker, Sentence, Speech

CHUNK_US = 160_000
WORD_US = 340_000  # about 175 words a minute
FIRST_BYTE_US_MAX = 950_000


def lognormal_us(chance: random.Random, median_us: int, sigma: float, low_us: int, high_us: int) -> int:
    """A lognormal delay, cut off at both ends so that no tail can pass for a fault."""
    return int(min(max(median_us * math.exp(chance.gauss(0.0, sigma)), low_us), high_us))


class SimulatedEars:
    """One final transcript, word for word, some time after the speech ended."""

    def __init__(self, median_us: int = 240_000) -> None:
        self._median_us = median_us
        self.maker = Maker("simulated", "sim-ears")

    async def hear(self, speech: Speech, ended_us: int, key: Key) -> AsyncIterator[Heard]:
        delay_us = lognormal_us(key.chance("ears"), self._median_us, 0.35, 80_000, 900_000)
        yield Heard(ended_us + delay_us, speech.text, final=True)


class SimulatedVoice:
    """A streaming voice: the utterance's first byte takes its time, then chunks come faster than they play."""

    def __init__(self, median_us: int = 350_000, model: str = "sim-voice") -> None:
        self._median_us = median_us
        self.maker = Maker("simulated", model)

    async def speak(self, sentences: AsyncIterator[Sentence], key: Key) -> AsyncIterator[AudioChunk]:
        chance = key.chance("voice")
        at_us = 0
        wait_us = lognormal_us(chance, self._median_us, 0.28, 120_000, FIRST_BYTE_US_MAX)
        async for sentence in sentences:
            at_us = max(at_us, sentence.at_us + wait_us)
            text = sentence.text
            for duration_us in _chunks(text, chance):
                yield AudioChunk(at_us, duration_us, text)
                text = ""
                at_us += int(duration_us / chance.uniform(4.0, 9.0))
            wait_us = chance.randint(20_000, 60_000)  # the stream is open now: only the first sentence waits long


def _chunks(text: str, chance: random.Random) -> list[int]:
    left_us = int(max(1, len(text.split())) * WORD_US * chance.uniform(0.9, 1.1))
    return [CHUNK_US] * (left_us // CHUNK_US) + ([left_us % CHUNK_US] if left_us % CHUNK_US else [])
