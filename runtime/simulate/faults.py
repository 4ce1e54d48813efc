"""Bends the world of a call: late audio, gaps, silence. Never says an event: detectors must find what it does."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from runtime.voice.playout import PlayoutLedger
from runtime.voice.ports import AudioChunk, Key, Maker, Sentence, Voice

FAULTS_MIN = 3
CALLS_PER_FAULT = 13  # beyond FAULTS_MIN: 40 calls get 3
SILENCE_US = 30_000_000  # longer than any caller waits


class FaultKind(StrEnum):
    SLOW_TTS = "slow_tts"  # two seconds and more to the first byte
    UNDERRUN = "underrun"  # a gap of 300 to 800 ms in the middle of an utterance
    SILENT_AGENT = "silent_agent"  # nothing at all until the caller speaks again


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in which turn of the caller. The first one occurs in every call."""

    kind: FaultKind
    turn: int = 1


def plan_faults(seed: int, calls: int, kinds: tuple[FaultKind, ...] = tuple(FaultKind)) -> dict[int, Fault]:
    """Which of the calls 0 … calls - 1 get which fault: distinct calls, each kind at least once when `calls` ≥ 3."""
    chance = random.Random(f"{seed}/faults")
    count = min(calls, max(FAULTS_MIN, calls // CALLS_PER_FAULT))
    hit = sorted(chance.sample(range(calls), count))
    order = [kinds[i % len(kinds)] for i in range(count)]
    chance.shuffle(order)
    return {call: Fault(kind) for call, kind in zip(hit, order, strict=True)}


class FaultyVoice:
    """A voice that is as good as `voice`, but for one utterance."""

    def __init__(self, voice: Voice, fault: Fault) -> None:
        self._voice = voice
        self._fault = fault

    @property
    def maker(self) -> Maker:
        return self._voice.maker

    def speak(self, sentences: AsyncIterator[Sentence], key: Key) -> AsyncIterator[AudioChunk]:
        chunks = self._voice.speak(sentences, key)
        if key.turn != self._fault.turn:
            return chunks
        chance = key.chance("fault")
        match self._fault.kind:
            case FaultKind.SLOW_TTS:
                return _later(chunks, chance.randint(2_000_000, 2_400_000))
            case FaultKind.SILENT_AGENT:
                return _later(chunks, SILENCE_US)
            case FaultKind.UNDERRUN:
                return _with_gap(chunks, chance.randint(300_000, 800_000))


async def _later(chunks: AsyncIterator[AudioChunk], delay_us: int) -> AsyncIterator[AudioChunk]:
    async for chunk in chunks:
        yield AudioChunk(chunk.at_us + delay_us, chunk.duration_us, chunk.text)


async def _with_gap(chunks: AsyncIterator[AudioChunk], gap_us: int) -> AsyncIterator[AudioChunk]:
    """The fourth chunk comes `gap_us` after all before it has been played, and what follows comes after it."""
    line = PlayoutLedger()
    floor_us, count = 0, 0
    async for chunk in chunks:
        count += 1
        if count == 4 and line.deadline_us is not None:
            floor_us = max(chunk.at_us, line.deadline_us) + gap_us
        at_us = max(chunk.at_us, floor_us)
        line.feed(at_us, chunk.duration_us)
        yield AudioChunk(at_us, chunk.duration_us, chunk.text)
