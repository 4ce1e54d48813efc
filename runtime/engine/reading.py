"""Reads a streamed answer ahead, for two readers: the call, which times it, and the voice, which speaks it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from runtime.engine.respond import ANSWER_CHARS_MAX, Sentences
from runtime.models import Delta
from runtime.voice.ports import Sentence


@dataclass(frozen=True, slots=True)
class Words:
    """A piece of the answer: whether it held text, made a sentence whole, was the last."""

    at_us: int
    text: bool
    whole: bool
    finished: bool


class Reading:
    """Pumps in a task of its own, so that arrivals are stamped when they arrive. The queues are as long as one
    answer, which the model's client and `Sentences` bound.
    """

    def __init__(self, deltas: AsyncIterator[Delta]) -> None:
        self.written = ""
        self._words: asyncio.Queue[Words | Exception | None] = asyncio.Queue()
        self._sentences: asyncio.Queue[Sentence | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._pump(deltas))

    async def words(self) -> AsyncIterator[Words]:
        while (item := await self._words.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def sentences(self) -> AsyncIterator[Sentence]:
        while (item := await self._sentences.get()) is not None:
            yield item

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _pump(self, deltas: AsyncIterator[Delta]) -> None:
        cut = Sentences()
        try:
            async for delta in deltas:
                self.written = (self.written + delta.text)[:ANSWER_CHARS_MAX]
                whole = cut.take(delta.text) + (cut.rest() if delta.finished else [])
                # The call must see the sentence's time before the voice can make audio of it.
                self._words.put_nowait(Words(delta.at_us, bool(delta.text.strip()), bool(whole), delta.finished))
                for text in whole:
                    self._sentences.put_nowait(Sentence(delta.at_us, text))
        except Exception as failure:  # noqa: BLE001  raised where the words are read, or the voice would be blamed
            self._words.put_nowait(failure)
        finally:
            self._words.put_nowait(None)
            self._sentences.put_nowait(None)
            close = getattr(deltas, "aclose", None)
            if close is not None:
                await close()


async def spoken(text: str, at_us: int) -> AsyncIterator[Sentence]:
    """Static words, sentence by sentence, all there at once."""
    cut = Sentences()
    for sentence in [*cut.take(text), *cut.rest()]:
        yield Sentence(at_us, sentence)
