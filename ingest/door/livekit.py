"""LiveKit Agents: agent_session > user_turn, agent_turn > llm_node, tts_node, function_tool. Pure: what they say.

It speaks three dialects (`lk.*`, `lk.pii.*`, 1.8 with `gen_ai.*`), which differ in where words are and agree in
figures. Traps, seen in its real traces (tests/golden/otlp/): there is no span of the ears; `end_of_turn_delay` contains
the `transcription_delay`; a missing delay is written as 0; a reply and the turn that it answers are siblings without a
link; a discarded model's span looks like any other; two models' spans surround a tool.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ingest.door.span import Dialect, ForeignSpan
from ingest.door.told import CALL, TURN_MAX, Told, span_ended
from ingest.door.trace import Trace
from ingest.door.turns import AUDIO_US_MIN, MEANT_US_MIN, end_of_turn, turn_span
from runtime.events import (
    CallEnded,
    CallStarted,
    Component,
    Direction,
    EndReason,
    Outcome,
    SpanStatus,
    Speaker,
    SpeechEnded,
    SpeechStarted,
    ToolFired,
    TurnEnded,
)

_REASONS = {
    "participant_disconnected": EndReason.CALLER_HUNG_UP,
    "error": EndReason.FAILED,
    "job_shutdown": EndReason.AGENT_ENDED,
    "user_initiated": EndReason.AGENT_ENDED,
    "task_completed": EndReason.AGENT_ENDED,
}


class _Turn(NamedTuple):
    """What the caller said and what came of it. `user` is None for the agent's opening."""

    number: int
    user: ForeignSpan | None
    replies: list[ForeignSpan]


def told(trace: Trace, tools: frozenset[str]) -> Iterator[Told]:
    """What a session tells. `tools` are the names that may be told."""
    sessions = trace.of(Dialect.LIVEKIT, "agent_session")
    begins = sessions[0].start_us if sessions else trace.spans[0].start_us
    yield Told(CallStarted, begins, f"{CALL}:started", {"direction": Direction.UNKNOWN})
    turns = _turns(trace)
    for turn in turns:
        trace.homes.update((s.span, turn.number) for s in (*([turn.user] if turn.user else []), *turn.replies))
    speech = _Speech(trace, turns)
    yield from speech.told()
    for i, turn in enumerate(turns):
        yield from _turn(trace, turn, turns[i + 1] if i + 1 < len(turns) else None, speech, tools)
    if sessions:
        closed = trace.of(Dialect.LIVEKIT, "session_close")
        reason = _REASONS.get(closed[0].text("lk.close_reason") if closed else "", EndReason.UNKNOWN)
        yield Told(CallEnded, sessions[0].end_us, f"{CALL}:ended", {"reason": reason})


def _turns(trace: Trace) -> list[_Turn]:
    """The opening, and a turn for each time that the caller's words were taken."""
    replies = trace.of(Dialect.LIVEKIT, "agent_turn")
    users = [u for u in trace.of(Dialect.LIVEKIT, "user_turn") if _taken(u)]
    turns = [_Turn(0, None, [r for r in replies if not users or r.start_us < users[0].start_us])]
    for i, user in enumerate(users):
        until_us = users[i + 1].start_us if i + 1 < len(users) else None
        # A reply that is generated ahead begins before the turn of the caller has ended.
        mine = [r for r in replies if r.start_us >= user.start_us and (until_us is None or r.start_us < until_us)]
        highest = max(trace.turns.values(), default=0)
        number = trace.turns.setdefault(user.span, min(highest + 1, TURN_MAX))
        turns.append(_Turn(number, user, mine))
    return turns


def _taken(user: ForeignSpan) -> bool:
    """The session took what was said; of noises it writes no delay at all."""
    return user.number("lk.end_of_turn_delay") is not None


class _Speech:
    """Who spoke when, with the turn that it belongs to."""

    def __init__(self, trace: Trace, turns: list[_Turn]) -> None:
        self._turns = turns
        self.caller = [(s, self._turn_of(s)) for s in trace.of(Dialect.LIVEKIT, "user_speaking")]
        self.agent = [(s, self._turn_of(s)) for s in trace.of(Dialect.LIVEKIT, "agent_speaking")]

    def _turn_of(self, span: ForeignSpan) -> int:
        begun = [t.number for t in self._turns if t.user is None or t.user.start_us <= span.start_us]
        return begun[-1]

    def told(self) -> Iterator[Told]:
        for speaker, speeches in ((Speaker.CALLER, self.caller), (Speaker.AGENT, self.agent)):
            for span, turn in speeches:
                said = {"speaker": speaker, "turn": turn}
                yield Told(SpeechStarted, span.start_us, f"{span.span}:started", said)
                yield Told(SpeechEnded, span.end_us, f"{span.span}:ended", {**said, "duration_us": span.duration_us})

    def silent_us(self, turn: int) -> int | None:
        return max((s.end_us for s, of in self.caller if of == turn), default=None)

    def longest_us(self, turn: int) -> int:
        return max((s.duration_us for s, of in self.caller if of == turn), default=0)

    def audio_us(self, turn: int, since_us: int) -> int:
        return sum(max(0, s.end_us - max(s.start_us, since_us)) for s, of in self.agent if of == turn)


def _turn(trace: Trace, turn: _Turn, after: _Turn | None, speech: _Speech, tools: frozenset[str]) -> Iterator[Told]:
    parts = [_Reply.of(trace, reply) for reply in turn.replies]
    answer = next((p for p in parts if p.span.micros("lk.e2e_latency") is not None), parts[0] if parts else None)
    whole = ""
    if turn.user is not None:
        delays = (*([answer.span] if answer else []), turn.user)
        waited_us, heard_us = (_first(delays, f"lk.{name}_delay") for name in ("end_of_turn", "transcription"))
        silent_us = speech.silent_us(turn.number)
        if silent_us is None:
            silent_us = turn.user.end_us - (waited_us or 0)
        latency_us = answer.span.micros("lk.e2e_latency") if answer else None
        end_us = max([silent_us, turn.user.end_us, *(r.end_us for r in turn.replies)])
        whole = f"{turn.user.span}:turn"
        yield turn_span(whole, turn.number, silent_us, end_us, latency_us)
        if waited_us is not None:
            yield end_of_turn(turn.user.span, turn.number, silent_us, waited_us, whole)
        if heard_us is not None:
            at = silent_us + heard_us
            yield span_ended(turn.user, turn.number, Component.ASR, at=at, duration_us=heard_us, within=whole)
        ended = {"turn": turn.number, "outcome": _outcome(turn, after, speech, silent_us)}
        if latency_us is not None and answer is not None:
            ended |= {"latency_us": latency_us, "unattributed_us": answer.unattributed_us(latency_us, waited_us)}
        yield Told(TurnEnded, end_us, f"{turn.user.span}:ended", ended)
    for part in parts:
        yield from part.told(turn.number, whole, tools)


def _first(spans: tuple[ForeignSpan, ...], fact: str) -> int | None:
    return next((micros for s in spans if (micros := s.micros(fact)) is not None), None)


def _outcome(turn: _Turn, after: _Turn | None, speech: _Speech, silent_us: int) -> Outcome:
    answered = speech.audio_us(turn.number, silent_us) >= AUDIO_US_MIN
    if not speech.agent:  # an old or a filtered trace, without its speech
        answered = any(r.micros("lk.e2e_latency") is not None for r in turn.replies)
    if after is None:
        return Outcome.ANSWERED if answered else Outcome.HUNG_UP
    meant = speech.longest_us(after.number) >= MEANT_US_MIN
    if not answered:
        both = meant and speech.longest_us(turn.number) >= MEANT_US_MIN
        return Outcome.DISAPPEARED if both else Outcome.CONTINUED
    cut = any(r.flag("lk.interrupted") for r in turn.replies)
    return Outcome.INTERRUPTED if cut and (meant or not speech.caller) else Outcome.ANSWERED


class _Reply(NamedTuple):
    """One turn of the agent. `chosen` is the model's span that was spoken, `before` led to it by a tool."""

    span: ForeignSpan
    models: list[ForeignSpan]
    voices: list[ForeignSpan]
    tools: list[ForeignSpan]
    chosen: ForeignSpan | None
    before: list[ForeignSpan]
    first_us: dict[str, int]

    @classmethod
    def of(cls, trace: Trace, reply: ForeignSpan) -> "_Reply":
        models, voices, tools = (trace.within(reply, name) for name in ("llm_node", "tts_node", "function_tool"))
        voice = next((v for v in voices if v.micros("lk.response.ttfb") is not None), voices[0] if voices else None)
        asked = [m for m in models if voice is None or m.start_us <= voice.start_us]
        chosen = asked[-1] if asked else None
        before = [m for m in asked[:-1] if m.called or _led_to_tool(m, tools, asked[-1])]
        firsts = {m.span: first_us for m in models if (first_us := _first_us(trace, m)) is not None}
        return cls(reply, models, voices, tools, chosen, before, firsts)

    def unattributed_us(self, latency_us: int, waited_us: int | None) -> int | None:
        """What no part accounts for, if all parts are known; below 0 when a reply was generated ahead."""
        first_us = self.first_us.get(self.chosen.span) if self.chosen else None
        audio_us = next((f for v in self.voices if (f := v.micros("lk.response.ttfb")) is not None), None)
        if waited_us is None or first_us is None or audio_us is None:
            return None
        between = [s for s in (*self.before, *self.tools) if self.chosen and s.start_us < self.chosen.start_us]
        return latency_us - waited_us - first_us - audio_us - sum(s.duration_us for s in between)

    def told(self, turn: int, whole: str, tools: frozenset[str]) -> Iterator[Told]:
        for model in self.models:
            if model in self.before:
                yield span_ended(model, turn, Component.DECISION, status=_status(model), within=whole)
                continue
            later = self.chosen is not None and model.start_us > self.chosen.start_us
            status = _status(model) if model is self.chosen or later else SpanStatus.CANCELLED  # discarded
            first_us = self.first_us.get(model.span) if status is SpanStatus.OK else None
            yield span_ended(model, turn, Component.RESPONSE, first_us=first_us, status=status, within=whole)
        for voice in self.voices:
            first_us = voice.micros("lk.response.ttfb")
            yield span_ended(voice, turn, Component.TTS, first_us=first_us, status=_status(voice), within=whole)
        for tool in self.tools:
            wrong = tool.failed or tool.flag("lk.function_tool.is_error")
            status = SpanStatus.ERROR if wrong else SpanStatus.OK
            yield span_ended(tool, turn, Component.TOOL, status=status, within=whole, provider="", model="")
            name = tool.text("lk.function_tool.name") or tool.text("gen_ai.tool.name")
            if name in tools:
                fired = {"turn": turn, "node": "", "tool": name, "next_node": ""}
                yield Told(ToolFired, tool.start_us, f"{tool.span}:fired", fired)


def _led_to_tool(model: ForeignSpan, tools: list[ForeignSpan], chosen: ForeignSpan) -> bool:
    """A tool ran between the two, so this one has asked for it and was not discarded."""
    return any(model.start_us <= t.start_us and t.end_us <= chosen.start_us for t in tools)


def _first_us(trace: Trace, model: ForeignSpan) -> int | None:
    """To the first token: of the node, else of its request, which is all that 1.8 promises."""
    asked = (model, *trace.within(model, "llm_request"))
    first_us = _first(asked, "lk.response.ttft")
    return _first(asked, "gen_ai.response.time_to_first_chunk") if first_us is None else first_us


def _status(span: ForeignSpan) -> SpanStatus:
    return SpanStatus.ERROR if span.failed else SpanStatus.OK
