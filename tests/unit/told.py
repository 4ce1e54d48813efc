"""A model, a voice, ears and a caller that do exactly what they are told. Decides nothing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from runtime.engine.outside import Told
from runtime.errors import ProviderFailed
from runtime.models import Ask, Delta, Stamps, ToolPart
from runtime.voice import AudioChunk, Heard, Key, Move, Sentence, Speech
from runtime.voice.ports import Maker

SECOND = 1_000_000
ANSWER = "Thank you for confirming that. What can I do for you today?"


@dataclass
class ToldModel:
    """Picks the tools it is given, one a request, each half a second after the request; answers a word each 100 ms."""

    picks: list[tuple[str, str]]
    answer: str = ANSWER
    asks: list[Ask] = field(default_factory=list)
    provider: str = "told"

    async def complete(self, ask: Ask, clock: Stamps) -> AsyncIterator[Delta]:
        self.asks.append(ask)
        at_us = clock.now_us() + SECOND // 2
        if ask.tools:
            if not self.picks:
                raise ProviderFailed("told", "it has nothing left to say")
            name, arguments = self.picks.pop(0)
            yield Delta(at_us, tools=(ToolPart(0, name, arguments),) if name else ())
            yield Delta(at_us + 1_000, finished=True)
            return
        for word in self.answer.split():
            yield Delta(at_us, f"{word} ")
            at_us += SECOND // 10
        yield Delta(at_us, finished=True)


@dataclass
class ToldVoice:
    """A second of audio for each sentence, in tenths, 300 ms after it was asked; `fails_at` chunks it breaks."""

    fails_at: int = 1_000
    asked: list[Sentence] = field(default_factory=list)
    maker: Maker = field(default_factory=lambda: Maker("told", "voice"))

    async def speak(self, sentences: AsyncIterator[Sentence], key: Key) -> AsyncIterator[AudioChunk]:
        at_us, count = 0, 0
        async for sentence in sentences:
            self.asked.append(sentence)
            at_us = max(at_us, sentence.at_us + 300_000)
            for index in range(10):
                count += 1
                if key.turn and count > self.fails_at:
                    raise ProviderFailed("told", "the voice is gone")
                yield AudioChunk(at_us, 100_000, sentence.text if index == 0 else "")
                at_us += 10_000


class ToldEars:
    maker = Maker("told", "ears")

    async def hear(self, speech: Speech, ended_us: int, _key: Key) -> AsyncIterator[Heard]:
        yield Heard(ended_us + 100_000, "", final=False)
        yield Heard(ended_us + 200_000, speech.text, final=True)


class ToldOutside:
    async def ask(self, _name: str, _values: object, at_us: int, _key: Key) -> Told:
        return Told(at_us + 250_000, {"time": "noon"})


@dataclass
class ToldCaller:
    overlaps: dict[int, Move] = field(default_factory=dict)
    words: str = "Yes."
    patience_us: int = 6 * SECOND

    def overlap(self, turn: int, _begun: str) -> Move | None:
        return self.overlaps.get(turn)

    def reply(self, _turn: int, said: str, _unanswered: int) -> Move:
        if not said:
            return Speech("Hello?", SECOND, self.patience_us)
        return Speech(self.words, SECOND, SECOND)
