"""Pipecat 1.x: conversation > turn > stt, llm, tts. Pure: the spans of one trace to what they tell.

Traps, seen in its real traces (tests/golden/otlp/): `stt` opens when the caller begins, so its duration is no latency;
the last turn is marked interrupted though nobody did; a greeting is turn 1; what the caller says again after silence or
an error stays in one turn; a model that failed or was cut still has a time to first byte; the parts do not add up,
because the wait for the end of the turn has no span.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ingest.door.span import Dialect, ForeignSpan
from ingest.door.told import CALL, TURN_MAX, Told, span_ended
from ingest.door.trace import Trace
from ingest.door.turns import MEANT_US_MIN, end_of_turn, turn_span
from runtime.events import (
    CallEnded,
    CallStarted,
    Component,
    Direction,
    EndReason,
    Outcome,
    SpanStatus,
    TurnEnded,
)

_LATENCY = "turn.user_bot_latency_seconds"
_TTFB = "metrics.ttfb"


class _Turn(NamedTuple):
    """What the caller said until the model was asked, and what came of it. Parts are in the order of their start.

    `key` is the span that names it, `latency_us` is known of an answered one; `cut`: the caller spoke over the agent.
    """

    key: str
    number: int
    end_us: int
    latency_us: int | None
    cut: bool
    stt: list[ForeignSpan]
    llm: list[ForeignSpan]
    tts: list[ForeignSpan]

    @property
    def heard(self) -> list[ForeignSpan]:
        return [s for s in self.stt if s.micros(_TTFB) is not None]

    @property
    def silent_us(self) -> int | None:
        """When the caller fell silent, within 45 ms: the transcript came so long after it."""
        return self.heard[-1].end_us - (self.heard[-1].micros(_TTFB) or 0) if self.heard else None

    @property
    def spoken_us(self) -> int:
        return sum(s.end_us - (s.micros(_TTFB) or 0) - s.start_us for s in self.stt)

    @property
    def answered(self) -> bool:
        return self.latency_us is not None or any(s.micros(_TTFB) is not None for s in self.tts)


def told(trace: Trace) -> Iterator[Told]:
    """What a conversation tells."""
    conversations = trace.of(Dialect.PIPECAT, "conversation")
    begins = conversations[0].start_us if conversations else trace.spans[0].start_us
    yield Told(CallStarted, begins, f"{CALL}:started", {"direction": Direction.UNKNOWN})
    counts = any(s.number("gen_ai.usage.output_tokens") is not None for s in trace.of(Dialect.PIPECAT, "llm"))
    turns = _turns(trace)
    answers = [_Answer.of(turn, counts) for turn in turns]
    for i, (turn, answer) in enumerate(zip(turns, answers, strict=True)):
        yield from _turn(turn, answer, turns[i + 1] if i + 1 < len(turns) else None)
    wholes = {s.span: turn_key(t) for t in turns for s in (*t.stt, *t.llm, *t.tts)}
    decisions = {s.span for answer in answers for s in answer.decisions}
    for span in trace.of(Dialect.PIPECAT, "stt", "llm", "tts"):
        whole = wholes.get(span.span, "")
        yield from _component(span, trace.turn_of(span), whole, _status(span, counts), span.span in decisions)
    for conversation in conversations[:1]:
        yield Told(CallEnded, conversation.end_us, f"{CALL}:ended", {"reason": EndReason.UNKNOWN})


def turn_key(turn: _Turn) -> str:
    return f"{turn.key}:turn"


def _turns(trace: Trace) -> list[_Turn]:
    """The caller's turns, from 1. What the agent says by itself belongs to the turn before, or to the opening."""
    spans = [s for s in trace.of(Dialect.PIPECAT, "turn") if s.number("turn.number")]
    spans.sort(key=lambda s: (s.number("turn.number") or 0, s.start_us))
    turns: list[_Turn] = []
    here = 0
    for span in spans:
        stt, llm, tts = (trace.within(span, name) for name in ("stt", "llm", "tts"))
        groups = _utterances(stt, llm) if stt else []
        if not groups and span.micros(_LATENCY) is not None:
            groups = [[]]  # speech to speech: nobody wrote down what was said
        for i, group in enumerate(groups):
            key = group[0].span if i else span.span
            here = trace.turns.setdefault(key, min(max(trace.turns.values(), default=0) + 1, TURN_MAX))
            after = groups[i + 1] if i + 1 < len(groups) else None
            since_us = group[-1].end_us if i else 0
            until_us = after[-1].end_us if after else None
            mine = [
                [s for s in of if s.start_us >= since_us and (until_us is None or s.start_us < until_us)]
                for of in (llm, tts)
            ]
            trace.homes.update((s.span, here) for s in (*group, *mine[0], *mine[1]))
            # The end of the pipeline marks the open turn as interrupted too, so the mark counts only where one follows.
            last = span is spans[-1] or span.flag("turn.ended_by_conversation_end")
            cut = after is None and span.flag("turn.was_interrupted") and not last
            latency_us = span.micros(_LATENCY) if after is None else None
            end_us = after[0].start_us if after else span.end_us
            turns.append(_Turn(key, here, end_us, latency_us, cut, group, *mine))
        trace.homes[span.span] = here
    return turns


def _utterances(stt: Sequence[ForeignSpan], llm: Sequence[ForeignSpan]) -> list[list[ForeignSpan]]:
    """The transcripts of one turn of Pipecat's, parted where the model was asked in between: that turn was over, and
    the caller spoke again before there was an answer.
    """
    groups = [[stt[0]]]
    for before, after in pairwise(stt):
        asked = any(before.end_us <= m.start_us < after.end_us for m in llm)
        if asked:
            groups.append([after])
        else:
            groups[-1].append(after)
    return groups


class _Answer(NamedTuple):
    """How a turn came to its first audio; what is not known is None."""

    waited_us: int | None  # from the caller's silence to the model's request
    decisions: tuple[ForeignSpan, ...]
    first_us: int | None  # the model's first token
    audio_us: int | None  # the voice's first byte

    @classmethod
    def of(cls, turn: _Turn, counts: bool) -> "_Answer":
        silent_us = turn.silent_us
        asked = [s for s in turn.llm if _status(s, counts) is SpanStatus.OK]
        voices = [s for s in turn.tts if s.micros(_TTFB) is not None and asked and s.start_us >= asked[0].start_us]
        before = [s for s in asked if not voices or s.start_us <= voices[0].start_us]
        waited_us = turn.llm[0].start_us - silent_us if turn.llm and silent_us is not None else None
        return cls(
            waited_us if waited_us is not None and waited_us >= 0 else None,
            # One that said nothing and was followed by another has picked a tool.
            tuple(s for s in before[:-1] if not s.said),
            before[-1].micros(_TTFB) if before else None,
            voices[0].micros(_TTFB) if voices else None,
        )

    def unattributed_us(self, latency_us: int) -> int | None:
        """What no part accounts for, if all parts are known."""
        if self.waited_us is None or self.first_us is None or self.audio_us is None:
            return None
        parts = self.waited_us + sum(s.duration_us for s in self.decisions) + self.first_us + self.audio_us
        return latency_us - parts


def _turn(turn: _Turn, answer: _Answer, after: _Turn | None) -> Iterator[Told]:
    silent_us = turn.silent_us
    begins = silent_us if silent_us is not None else max(turn.end_us - (turn.latency_us or 0), 0)
    yield turn_span(turn_key(turn), turn.number, begins, turn.end_us, turn.latency_us)
    if answer.waited_us is not None and silent_us is not None:
        yield end_of_turn(turn.key, turn.number, silent_us, answer.waited_us, turn_key(turn))
    payload: dict[str, object] = {"turn": turn.number, "outcome": _outcome(turn, after)}
    if turn.latency_us is not None:
        payload |= {"latency_us": turn.latency_us, "unattributed_us": answer.unattributed_us(turn.latency_us)}
    yield Told(TurnEnded, turn.end_us, f"{turn.key}:ended", payload)


def _outcome(turn: _Turn, after: _Turn | None) -> Outcome:
    if turn.answered:
        return Outcome.INTERRUPTED if turn.cut else Outcome.ANSWERED
    if after is None:
        return Outcome.HUNG_UP
    meant = min(turn.spoken_us, after.spoken_us) >= MEANT_US_MIN
    return Outcome.DISAPPEARED if meant else Outcome.CONTINUED


def _component(span: ForeignSpan, turn: int, whole: str, status: SpanStatus, decided: bool) -> Iterator[Told]:
    ttfb_us = span.micros(_TTFB)
    if span.name == "stt":
        if ttfb_us is not None:  # else how long it took is not known: its span is the caller's speech
            yield span_ended(span, turn, Component.ASR, duration_us=ttfb_us, status=status, within=whole)
    elif span.name == "llm":
        component = Component.DECISION if decided else Component.RESPONSE
        first_us = ttfb_us if status is SpanStatus.OK and not decided else None
        yield span_ended(span, turn, component, first_us=first_us, status=status, within=whole)
    else:  # it ends when all is synthesized, which may be long before it is heard
        yield span_ended(span, turn, Component.TTS, first_us=ttfb_us, status=status, within=whole)


def _status(span: ForeignSpan, counts: bool) -> SpanStatus:
    """`counts`: this pipeline tells tokens, so a model's span without them was cut."""
    if span.failed:
        return SpanStatus.ERROR
    cut = span.flag("tts.interrupted")
    if span.name == "llm":
        cut = span.number("gen_ai.usage.output_tokens") is None if counts else not span.said
    return SpanStatus.CANCELLED if cut else SpanStatus.OK
