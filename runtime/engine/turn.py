"""One turn of the agent: end of turn, decision, tool, and the beginning of the answer. Hears no interruption.

Every span is a child of the turn's root, and the parts add up: from the end of the caller's speech to the
agent's first audio = end_of_turn + decision + tool + response.ready + tts.first + unattributed.
"""

import json
from dataclasses import replace
from functools import partial

from runtime import genai
from runtime.engine.decide import Picking, decision
from runtime.engine.desk import Desk
from runtime.engine.respond import response, static
from runtime.engine.speaking import Speaking
from runtime.engine.state import CallState
from runtime.engine.step import Choice, Fired, Step, fall_back, step
from runtime.engine.told import tell_ask
from runtime.events import ArgumentsGiven, Component, NodeEntered, ToolFired, WordsHeard
from runtime.models import Ask
from runtime.voice.ports import Speech

END_OF_TURN_US = 450_000  # silence after which the caller's turn is over
TRIES_MAX = 2  # of a decision
HEARD_CHARS_MAX = 4_000  # of one speech of the caller


class Turn:
    """`state` moves as the turn goes, so a turn that is cut leaves the call where it had come to."""

    def __init__(self, desk: Desk, number: int, state: CallState) -> None:
        self._desk = desk
        self.number = number
        self.state = state
        self._parts_us = 0
        component = Component.TURN if number else Component.OPENING
        self.root = desk.trace.start(component, number, desk.clock.now_us())
        self.speaking: Speaking | None = None

    async def answer(self, speech: Speech | None) -> Speaking:
        """From the end of the caller's speech (none in the opening) until the agent is heard.

        Raises ProviderFailed, PromptFailed.
        """
        if speech is None:
            self._enter(self.state)
        else:
            await self._listen(speech)
            if not self.state.of(self._desk.agent).terminal:
                await self._decide()
        self.speaking = self._speak()
        started_us = await self.speaking.first_audio()
        if speech is not None:
            latency_us = started_us - self.root.started_us
            parts_us = self._parts_us + self.speaking.parts_us
            self._desk.account.answers(self.number, latency_us, latency_us - parts_us)
        return self.speaking

    async def _listen(self, speech: Speech) -> None:
        desk, began_us = self._desk, self.root.started_us
        over = desk.trace.start(Component.END_OF_TURN, self.number, began_us, parent=self.root)
        maker = desk.ports.ears.maker
        asr = desk.trace.start(
            Component.ASR, self.number, began_us, parent=over, provider=maker.provider, model=maker.model
        )
        text = ""
        async for heard in desk.ports.ears.hear(speech, began_us, desk.key(self.number)):
            await desk.clock.until(heard.at_us)
            text = heard.text[:HEARD_CHARS_MAX]
            if heard.final:
                asr.words(genai.OUTPUT, partial(genai.answer, text))
                asr.end(heard.at_us)
                break
        await desk.clock.until(began_us + END_OF_TURN_US)
        now_us = desk.clock.now_us()
        asr.end(now_us)  # when no transcript was final
        over.end(now_us)
        self._parts_us += now_us - began_us
        self.state = self.state.heard(text)
        desk.account.say(WordsHeard, now_us, turn=self.number, text=text)

    async def _decide(self) -> None:
        desk = self._desk
        began_us = desk.clock.now_us()
        ask = self._ask()
        span = desk.trace.start(
            Component.DECISION,
            self.number,
            began_us,
            parent=self.root,
            provider=desk.ports.model.provider,
            model=ask.model,
            seed=ask.seed,
        )
        taken = None
        for _ in range(TRIES_MAX):
            tell_ask(span, ask)
            choice = await self._pick(ask)
            span.words(genai.OUTPUT, partial(genai.tool_call, choice.tool, choice.arguments))
            found = step(desk.agent, self.state, choice)
            if isinstance(found, Step):
                taken = found
                break
            ask = self._ask(found.why)
        taken = taken or fall_back(desk.agent, self.state)
        now_us = desk.clock.now_us()
        # A tool call is of no use before it is whole, so its first useful moment is its last.
        span.first_us = span.ready_us = now_us - began_us
        span.end(now_us)
        self._parts_us += now_us - began_us
        self.state = taken.state
        if taken.fired is not None:
            await self._fire(taken.fired)
        self._enter(self.state)

    def _ask(self, problem: str = "") -> Ask:
        desk = self._desk
        half = "decision again" if problem else "decision"
        return decision(desk.agent, self.state, desk.model_seed(self.number, half), problem)

    async def _pick(self, ask: Ask) -> Choice:
        picking = Picking()
        async for delta in self._desk.ports.model.complete(ask, self._desk.clock):
            await self._desk.clock.until(delta.at_us)
            for part in delta.tools:
                picking.take(part)
        return picking.choice()

    async def _fire(self, fired: Fired) -> None:
        desk, at_us = self._desk, self._desk.clock.now_us()
        desk.account.say(
            ToolFired, at_us, turn=self.number, node=fired.node, tool=fired.tool, next_node=fired.next_node
        )
        values = json.loads(fired.arguments)
        if values:
            desk.account.say(ArgumentsGiven, at_us, turn=self.number, tool=fired.tool, arguments=fired.arguments)
        if not fired.calls:
            return
        span = desk.trace.start(Component.TOOL, self.number, at_us, parent=self.root, tool=fired.tool)
        span.words(genai.ARGUMENTS, partial(genai.values, values))
        told = await desk.ports.outside.ask(fired.calls, self.state.data, at_us, desk.key(self.number))
        await desk.clock.until(told.at_us)
        now_us = desk.clock.now_us()
        span.words(genai.RESULT, partial(genai.values, told.values))
        span.end(now_us)
        self._parts_us += now_us - at_us
        self.state = replace(self.state, data={**self.state.data, **told.values})

    def _enter(self, state: CallState) -> None:
        self._desk.account.say(NodeEntered, self._desk.clock.now_us(), turn=self.number, node=state.node)

    def _speak(self) -> Speaking:
        text = static(self._desk.agent, self.state)
        if text:
            return Speaking.of_text(self._desk, self.number, self.root, text)
        ask = response(self._desk.agent, self.state, self._desk.model_seed(self.number, "response"))
        return Speaking.of_ask(self._desk, self.number, self.root, ask)
