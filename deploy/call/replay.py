"""A call as it stood after any of its events: which come before it, and what they amount to. Pure; reads no store.

The folds are those that everybody uses: the record of a call, and the outcome of a turn from speech. Values of data are
words, so they are in content and not here.
"""

from collections.abc import Sequence
from heapq import merge
from typing import TypeAlias

from msgspec import Struct

from grafana.call import CallRecord, Unknown, call_record
from runtime.events import Event, SpanEnded
from runtime.voice.outcome import outcomes

Told: TypeAlias = Event | Unknown


class TurnState(Struct, frozen=True):
    """`said` is what its TurnEnded states, `by_speech` what speech alone amounts to so far; empty: not certain yet."""

    turn: int
    said: str
    by_speech: str
    latency_us: int | None


class State(Struct, frozen=True, kw_only=True):
    """What is known of a call after `step` of its `steps` events; the last was `type`, `seq` of `source`.

    `spans_open` are those that others name as their parent, or that were numbered before one that ended.
    """

    call_id: str
    step: int
    steps: int
    source: str
    seq: int
    at_us: int  # since the call began
    type: str
    started: bool
    ended: bool
    end_reason: str
    node: str
    tools: tuple[str, ...]
    turn: int
    turns: tuple[TurnState, ...]
    speaking: tuple[str, ...]
    speech: int
    disposition: str
    glitches: int
    spans_closed: int
    spans_open: tuple[str, ...]
    complete: bool
    missing: dict[str, str]


def in_order(events: Sequence[Told]) -> list[Told]:
    """By time, but never against the numbering of a source: its clock may go back, its account does not."""
    by_source: dict[str, dict[int, Told]] = {}
    for event in events:
        by_source.setdefault(event.source, {}).setdefault(event.seq, event)
    lines = []
    for source, its in sorted(by_source.items()):
        latest, line = 0, []
        for seq in sorted(its):
            latest = max(latest, its[seq].at)
            line.append((latest, source, seq, its[seq]))
        lines.append(line)
    return [event for *_, event in merge(*lines, key=lambda one: one[:3])]


def step_of(events: Sequence[Told], seq: int, source: str) -> int:
    """After how many events, in order, this one has been said. Raises LookupError."""
    for number, event in enumerate(events, start=1):
        if (event.source, event.seq) == (source, seq):
            return number
    raise LookupError(f"source {source!r} has no event {seq}")


def state_at(events: Sequence[Told], step: int) -> State:
    """The state after `step` events (from 1) of a call that are `in_order`."""
    told = list(events[:step])
    record, last = call_record(told), told[-1]
    entered = max((n for t in record.turns for n in t.nodes), key=lambda n: n.at_us, default=None)
    by_speech = outcomes(e for e in told if isinstance(e, Event))
    turns = tuple(
        TurnState(t.number, t.outcome, str(by_speech.get(t.number, "")), t.latency_us) for t in record.turns if t.number
    )
    speech = [s for t in record.turns for s in t.speech]
    return State(
        call_id=record.call_id,
        step=step,
        steps=len(events),
        source=last.source,
        seq=last.seq,
        at_us=last.at - record.started_us,
        type=last.type if isinstance(last, Unknown) else type(last).__name__,
        started=record.started,
        ended=record.ended,
        end_reason=record.end_reason,
        node=entered.node if entered is not None else "",
        tools=tuple(tool.tool for t in record.turns for tool in t.tools),
        turn=max((t.number for t in record.turns), default=0),
        turns=turns,
        speaking=tuple(sorted({s.speaker for s in speech if s.end_us is None})),
        speech=len(speech),
        disposition=record.disposition,
        glitches=sum(len(t.glitches) for t in record.turns),
        spans_closed=sum(len(t.spans) for t in record.turns),
        spans_open=_open(told),
        complete=record.complete,
        missing=_missing(record),
    )


def changes(before: State | None, after: State) -> dict[str, object]:
    """What an event changed, by field; of what tells where we are, nothing."""
    where = {"step", "steps", "source", "seq", "at_us", "type", "call_id"}
    fields = [name for name in after.__struct_fields__ if name not in where]
    return {n: getattr(after, n) for n in fields if before is None or getattr(before, n) != getattr(after, n)}


def _open(told: Sequence[Told]) -> tuple[str, ...]:
    """A span is given its number at its start, and told of at its end."""
    ended: dict[str, set[int]] = {}
    known: dict[str, int] = {}
    for event in told:
        if isinstance(event, SpanEnded):
            ended.setdefault(event.source, set()).add(event.span)
            known[event.source] = max(known.get(event.source, 0), event.span, event.parent)
    return tuple(
        f"{source}/{span}"
        for source in sorted(known)
        for span in range(1, min(known[source], 10_000) + 1)
        if span not in ended[source]
    )


def _missing(record: CallRecord) -> dict[str, str]:
    return {s.name: ", ".join(f"{a}-{b}" for a, b in s.missing) for s in record.sources if s.missing}
