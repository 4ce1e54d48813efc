"""One utterance of the agent, from the first request to the end of its playout or to the cut. Decides nothing."""

from functools import partial

from runtime import genai
from runtime.engine.desk import Desk
from runtime.engine.merge import Merged
from runtime.engine.reading import Reading, Words, spoken
from runtime.engine.told import tell_ask
from runtime.errors import ProviderFailed
from runtime.events import Component, SpanStatus, Speaker, WordsSaid
from runtime.models import Ask
from runtime.tracing import OpenSpan
from runtime.voice.playout import PlayoutLedger
from runtime.voice.ports import AudioChunk


class Speaking:
    """Every wait is the clock's, so `first_audio` and `finish` may be cut by a timeout and gone on with."""

    def __init__(self, desk: Desk, turn: int, root: OpenSpan) -> None:
        self._desk, self._turn, self._root = desk, turn, root
        self._ledger = PlayoutLedger()
        self._items: Merged[Words | AudioChunk]
        self._reading: Reading | None = None
        self._response: OpenSpan | None = None
        self._voice: OpenSpan | None = None
        self._texts: list[tuple[int, str]] = []  # when each piece of text begins to be heard
        self._last_audio_us = 0
        self._over = False
        self.text = ""

    @staticmethod
    def of_text(desk: Desk, turn: int, root: OpenSpan, text: str) -> "Speaking":
        """Static words: there is no model and no response span."""
        made = Speaking(desk, turn, root)
        now_us = desk.clock.now_us()
        made._items = Merged(desk.clock, desk.ports.voice.speak(spoken(text, now_us), desk.key(turn)))
        made._request_voice(now_us)
        return made

    @staticmethod
    def of_ask(desk: Desk, turn: int, root: OpenSpan, ask: Ask) -> "Speaking":
        """A model's answer; its first sentence goes to the voice while the rest is still being written."""
        made = Speaking(desk, turn, root)
        model = desk.ports.model
        made._response = desk.trace.start(
            Component.RESPONSE,
            turn,
            desk.clock.now_us(),
            parent=root,
            provider=model.provider,
            model=ask.model,
            seed=ask.seed,
        )
        tell_ask(made._response, ask)
        made._reading = Reading(model.complete(ask, desk.clock))
        audio = desk.ports.voice.speak(made._reading.sentences(), desk.key(turn))
        made._items = Merged(desk.clock, made._reading.words(), audio)
        return made

    async def first_audio(self) -> int:
        """Wait until the agent is heard; since when it is. Raises ProviderFailed when there is no audio at all."""
        while self._ledger.started_us is None:
            if not await self._take():
                self._ledger.flush(self._desk.clock.now_us())
                break
        started_us = self._ledger.started_us
        if started_us is None:
            raise ProviderFailed(self._desk.ports.voice.maker.provider, "it gave no audio")
        self._root.first_us = started_us - self._root.started_us
        self._desk.account.begins(Speaker.AGENT, self._turn, started_us)
        return started_us

    @property
    def parts_us(self) -> int:
        """What response and voice have added to the caller's wait: ready + first."""
        ready_us = self._response.ready_us if self._response is not None else 0
        first_us = self._voice.first_us if self._voice is not None else 0
        return (ready_us or 0) + (first_us or 0)

    async def finish(self) -> None:
        """Play to the end."""
        while await self._take():
            pass
        self._tell()
        if self._voice is not None:
            self._voice.end(self._last_audio_us)
        end_us = self._ledger.deadline_us or self._desk.clock.now_us()
        await self._desk.clock.until(end_us)
        await self._end(end_us)

    async def cut(self) -> None:
        """Fall silent now."""
        now_us = self._desk.clock.now_us()
        self._tell()
        for span in (self._response, self._voice):
            if span is not None:
                span.end(now_us, SpanStatus.CANCELLED)
        await self._end(now_us)

    async def aclose(self) -> None:
        """Stop all reading; says nothing."""
        if self._reading is not None:
            await self._reading.aclose()
        await self._items.aclose()

    async def _take(self) -> bool:
        item = await self._items.peek()
        if item is None:
            return False
        await self._desk.clock.until(item.at_us)
        self._items.pop()
        if isinstance(item, Words):
            self._read(item)
        else:
            self._hear(item)
        return True

    def _read(self, words: Words) -> None:
        span = self._response
        if span is None:
            return
        if words.text and span.first_us is None:
            span.first_us = words.at_us - span.started_us
        if words.whole and span.ready_us is None:
            span.ready_us = words.at_us - span.started_us
            self._request_voice(words.at_us)
        if words.finished:
            self._tell_answer(span)
            span.end(words.at_us)

    def _hear(self, chunk: AudioChunk) -> None:
        if self._voice is not None and self._voice.first_us is None:
            self._voice.first_us = chunk.at_us - self._voice.started_us
        if chunk.text:
            self._texts.append((max(chunk.at_us, self._ledger.deadline_us or 0), chunk.text))
            self.text = " ".join(text for _, text in self._texts)
        self._last_audio_us = chunk.at_us
        gap = self._ledger.feed(chunk.at_us, chunk.duration_us)
        if gap is not None:
            self._desk.account.glitch(self._turn, gap)

    def _tell(self) -> None:
        """What was written and what was voiced of it, for processors that may hear words."""
        if self._response is not None:
            self._tell_answer(self._response)
        if self._voice is not None:
            self._voice.words(genai.INPUT, lambda: genai.messages([("assistant", self.text)]))

    def _tell_answer(self, span: OpenSpan) -> None:
        if self._reading is not None:
            span.words(genai.OUTPUT, partial(genai.answer, self._reading.written))

    def _request_voice(self, at_us: int) -> None:
        maker = self._desk.ports.voice.maker
        self._voice = self._desk.trace.start(
            Component.TTS, self._turn, at_us, parent=self._root, provider=maker.provider, model=maker.model
        )

    async def _end(self, at_us: int) -> None:
        if self._over:
            return
        self._over = True
        self.text = " ".join(text for since_us, text in self._texts if since_us <= at_us)
        self._desk.account.ends(Speaker.AGENT, at_us)
        if self.text:
            self._desk.account.say(WordsSaid, at_us, turn=self._turn, text=self.text)
        self._root.end(at_us)
        self._ledger.reset()
        await self.aclose()
