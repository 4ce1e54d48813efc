"""Whole calls against the simulated provider over HTTP, judged from the log alone."""

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from runtime.emit import MemoryLog
from runtime.errors import CallRefused
from runtime.events import (
    CallEnded,
    DispositionSet,
    EndReason,
    Event,
    GlitchDetected,
    NodeEntered,
    Outcome,
    SourceClosed,
    SpanEnded,
    SpanStatus,
    Speaker,
    SpeechEnded,
    SpeechStarted,
    ToolFired,
    Topic,
    TurnEnded,
    WordsHeard,
    WordsSaid,
    decode,
    lead_id,
    looks_like_phone,
)
from runtime.graph import library
from runtime.models import Provider
from runtime.models.simulated import serve
from runtime.run import CallSummary, Run, run_call, run_calls, world
from runtime.simulate import Fault, FaultKind, Goal, Persona, ScriptedCaller, plan_faults
from runtime.voice import outcomes
from runtime.voice.ports import Ears, Heard, Key, Speech

AGENT = library("appointments")
START_US = 1_800_000_000_000_000
CALLS = 6


@dataclass(frozen=True)
class Ran:
    summaries: list[CallSummary]
    log: MemoryLog

    def events(self, topic: Topic = Topic.CALLS) -> dict[int, list[Event]]:
        numbers = {summary.call_id: summary.number for summary in self.summaries}
        told: dict[int, list[Event]] = defaultdict(list)
        for key, value in self.log.records(topic):
            told[numbers[key]].append(decode(value))
        return dict(told)


async def ran(calls: int = CALLS, concurrency: int = 3, seed: int = 1, **more: Any) -> Ran:
    log = MemoryLog()
    run = Run(AGENT, "tenant", "campaign", seed=seed, start_us=lambda n: START_US + n * 1_000_000, **more)
    async with serve() as url, world(Provider("simulated", url)) as ports:
        summaries = await run_calls(run, ports, log, calls, concurrency=concurrency)
    return Ran(summaries, log)


@pytest.fixture(scope="module")
def plain() -> Ran:
    return asyncio.run(ran(calls=40, concurrency=8))


@pytest.fixture(scope="module")
def faulty() -> Ran:
    return asyncio.run(ran(calls=12, faults=plan_faults(1, 12)))


def of(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_every_source_is_numbered_without_a_hole_and_closed(plain: Ran) -> None:
    for topic in (Topic.CALLS, Topic.CONTENT):
        for number, events in plain.events(topic).items():
            assert [event.seq for event in events] == list(range(len(events)))
            assert isinstance(events[-1], SourceClosed)
            assert events[-1].last_seq == events[-1].seq
            assert plain.summaries[number].said[events[-1].source] == len(events)


def test_events_are_said_in_the_order_of_their_time(faulty: Ran) -> None:
    for events in faulty.events().values():
        in_order = [event.at for event in events if not isinstance(event, GlitchDetected)]
        assert in_order == sorted(in_order)


def test_spans_are_children_inside_their_parents(plain: Ran, faulty: Ran) -> None:
    for events in [*plain.events().values(), *faulty.events().values()]:
        spans = {span.span: span for span in of(events, SpanEnded)}
        assert set(spans) == set(range(1, len(spans) + 1))
        for span in spans.values():
            if span.component in {"turn", "opening"}:
                assert span.parent == 0
                continue
            parent = spans[span.parent]
            assert parent.component == ("end_of_turn" if span.component == "asr" else parent.component)
            assert parent.turn == span.turn
            assert parent.at - parent.duration_us <= span.at - span.duration_us
            assert span.at <= parent.at


def test_the_parts_of_a_turn_add_up_to_the_microsecond(plain: Ran, faulty: Ran) -> None:
    checked = 0
    for events in [*plain.events().values(), *faulty.events().values()]:
        parts: Counter[int] = Counter()
        turns = {}
        for span in of(events, SpanEnded):
            if span.component == "turn":
                turns[span.turn] = span
            elif span.component in {"end_of_turn", "tool"}:
                parts[span.turn] += span.duration_us
            elif span.component in {"decision", "response"}:
                parts[span.turn] += span.ready_us or 0
            elif span.component == "tts":
                parts[span.turn] += span.first_us or 0
        for ended in of(events, TurnEnded):
            if ended.latency_us is not None:
                assert ended.latency_us == parts[ended.turn] + ended.unattributed_us
                assert ended.unattributed_us == 0
                assert turns[ended.turn].first_us == ended.latency_us
                checked += 1
    assert checked > 80


def test_latency_is_the_silence_that_the_caller_hears(plain: Ran) -> None:
    for events in plain.events().values():
        waiting, silence = {}, {}
        for event in events:
            if isinstance(event, SpeechEnded) and event.speaker is Speaker.CALLER:
                waiting[event.turn] = event.at
            if isinstance(event, SpeechStarted) and event.speaker is Speaker.AGENT and event.turn in waiting:
                silence[event.turn] = event.at - waiting[event.turn]
        stated = {turn.turn: turn.latency_us for turn in of(events, TurnEnded) if turn.latency_us is not None}
        assert stated == silence


def test_outcomes_follow_from_speech_alone(plain: Ran, faulty: Ran) -> None:
    seen: set[Outcome] = set()
    for run in (plain, faulty):
        for number, events in run.events().items():
            stated = {event.turn: event.outcome for event in of(events, TurnEnded)}
            assert outcomes(events) == stated == run.summaries[number].outcomes
            assert set(stated) == set(range(1, run.summaries[number].turns + 1))
            seen |= set(stated.values())
    assert {Outcome.ANSWERED, Outcome.INTERRUPTED, Outcome.DISAPPEARED} <= seen


async def test_without_faults_there_is_nothing_to_find() -> None:
    for seed in range(2, 5):
        run = await ran(calls=15, concurrency=5, seed=seed)
        for events in run.events().values():
            assert of(events, GlitchDetected) == []
            assert all(event.outcome is not Outcome.DISAPPEARED for event in of(events, TurnEnded))
            assert all(span.first_us < 1_000_000 for span in of(events, SpanEnded) if span.component == "tts")
            assert all(span.status is not SpanStatus.ERROR for span in of(events, SpanEnded))


def test_each_fault_is_found_in_its_call_and_nowhere_else(faulty: Ran) -> None:
    found: dict[FaultKind, set[int]] = {kind: set() for kind in FaultKind}
    for number, events in faulty.events().items():
        if any(s.component == "tts" and (s.first_us or 0) > 2_000_000 for s in of(events, SpanEnded)):
            found[FaultKind.SLOW_TTS].add(number)
        if any(glitch.gap_ms >= 40 for glitch in of(events, GlitchDetected)):
            found[FaultKind.UNDERRUN].add(number)
        if any(turn.outcome is Outcome.DISAPPEARED for turn in of(events, TurnEnded)):
            found[FaultKind.SILENT_AGENT].add(number)
    planned = plan_faults(1, 12)
    assert found == {kind: {n for n, fault in planned.items() if fault.kind is kind} for kind in FaultKind}


def test_a_cut_pipeline_ends_where_the_caller_speaks_again(faulty: Ran) -> None:
    (number,) = [n for n, fault in plan_faults(1, 12).items() if fault.kind is FaultKind.SILENT_AGENT]
    events = faulty.events()[number]
    cut = [span for span in of(events, SpanEnded) if span.status is SpanStatus.CANCELLED]
    again = next(e for e in events if isinstance(e, SpeechStarted) and e.speaker is Speaker.CALLER and e.turn == 2)
    assert {span.component for span in cut} == {"turn", "tts"}
    assert {span.at for span in cut} == {again.at}
    assert of(events, TurnEnded)[0].latency_us is None


def test_a_gap_bears_the_time_at_which_it_was_heard(faulty: Ran) -> None:
    (number,) = [n for n, fault in plan_faults(1, 12).items() if fault.kind is FaultKind.UNDERRUN]
    events = faulty.events()[number]
    (glitch,) = of(events, GlitchDetected)
    assert 300 <= glitch.gap_ms <= 800
    started = next(e for e in events if isinstance(e, SpeechStarted) and e.turn == 1 and e.speaker is Speaker.AGENT)
    ended = next(e for e in events if isinstance(e, SpeechEnded) and e.turn == 1 and e.speaker is Speaker.AGENT)
    assert started.at < glitch.at < glitch.at + glitch.gap_ms * 1000 < ended.at


def test_words_stay_in_the_content_topic(plain: Ran) -> None:
    spoken = [
        event.text
        for events in plain.events(Topic.CONTENT).values()
        for event in events
        if isinstance(event, WordsSaid | WordsHeard)
    ]
    assert len(spoken) > 100
    values = {
        value
        for events in plain.events().values()
        for event in events
        for value in msgspec.structs.asdict(event).values()
        if isinstance(value, str)
    }
    assert values.isdisjoint(spoken)
    assert not any(" " in value or looks_like_phone(value) for value in values)


def test_calls_end_as_their_callers_wish(plain: Ran) -> None:
    expected = {
        Goal.BOOK: "booked",
        Goal.WRONG_NUMBER: "wrong_number",
        Goal.OPT_OUT: "opted_out",
        Goal.NOT_INTERESTED: "not_interested",
        Goal.LATER: "call_later",
        Goal.HANG_UP: "caller_hung_up",
    }
    for number, events in plain.events().items():
        goal = ScriptedCaller.of(1, number).persona.goal
        (disposition,) = of(events, DispositionSet)
        assert disposition.disposition == expected[goal]
        (ended,) = of(events, CallEnded)
        wanted = EndReason.CALLER_HUNG_UP if goal is Goal.HANG_UP else EndReason.AGENT_ENDED
        assert ended.reason is wanted


def test_routing_is_the_tool_that_fired(plain: Ran) -> None:
    for events in plain.events().values():
        path = [event for event in events if isinstance(event, ToolFired | NodeEntered)]
        assert path[0].node == "greet"
        for fired, entered in itertools.pairwise(path):
            if isinstance(fired, ToolFired):
                assert AGENT.nodes[fired.node].tools[fired.tool] == fired.next_node
                assert isinstance(entered, NodeEntered)
                assert entered.node == fired.next_node


def figures(run: Ran) -> list[Any]:
    """Everything that a run says, without call ids."""
    told = []
    for topic in (Topic.CALLS, Topic.CONTENT):
        for number, events in sorted(run.events(topic).items()):
            told += [(number, msgspec.structs.replace(event, stream="x")) for event in events]
    return told


async def test_figures_repeat_for_any_concurrency() -> None:
    plan = plan_faults(7, 8)
    one = await ran(calls=8, concurrency=1, seed=7, faults=plan)
    many = await ran(calls=8, concurrency=8, seed=7, faults=plan)
    assert figures(one) == figures(many)
    assert {s.call_id for s in one.summaries}.isdisjoint(s.call_id for s in many.summaries)
    other = await ran(calls=8, concurrency=8, seed=8, faults=plan)
    assert figures(other) != figures(many)


async def test_a_call_without_a_provider_ends_as_failed_and_raises_nothing() -> None:
    log = MemoryLog()
    run = Run(AGENT, "tenant", "campaign", start_us=lambda _: START_US)
    async with world(Provider("gone", "http://127.0.0.1:9/v1")) as ports:
        summary = await run_call(run, ports, log, 0)
    assert (summary.reason, summary.disposition) == (EndReason.FAILED, "failed")
    events = Ran([summary], log).events()[0]
    failed = [span for span in of(events, SpanEnded) if span.status is SpanStatus.ERROR]
    assert {span.component for span in failed} == {"decision", "turn"}
    assert all(span.latency_us is None for span in failed)
    assert of(events, TurnEnded)[0].outcome is Outcome.HUNG_UP
    assert isinstance(events[-1], SourceClosed)


class Deaf:
    """A caller who understands nothing."""

    def __init__(self) -> None:
        persona = Persona(Goal.BOOK, "Friday", "morning", "cleaning", 6_500_000)
        self._script = ScriptedCaller(persona, 1, 1)

    def overlap(self, _turn: int, _begun: str) -> None:
        return None

    def reply(self, turn: int, said: str, unanswered: int) -> Any:
        return self._script.reply(turn, "Hm." if said else "", unanswered)


async def test_a_caller_who_gets_nowhere_is_not_kept_for_ever() -> None:
    log = MemoryLog()
    run = Run(AGENT, "tenant", "campaign", start_us=lambda _: START_US)
    async with serve() as url, world(Provider("simulated", url)) as ports:
        summary = await run_call(run, ports, log, 0, caller=Deaf())
    assert summary.reason is EndReason.CALLER_HUNG_UP
    assert summary.turns <= 12


async def test_a_silent_agent_is_left_alone_in_the_end() -> None:
    log = MemoryLog()
    run = Run(
        AGENT, "tenant", "campaign", faults={0: Fault(FaultKind.SILENT_AGENT, turn=0)}, start_us=lambda _: START_US
    )
    async with serve() as url, world(Provider("simulated", url)) as ports:
        summary = await run_call(run, ports, log, 0)
    assert summary.turns >= 1
    assert summary.outcomes[1] is Outcome.ANSWERED


class _Odd:
    """Ears that raise, or never answer, in one turn of one call."""

    def __init__(self, ears: Ears, hang: bool) -> None:
        self._ears, self._hang = ears, hang
        self.reached = asyncio.Event()
        self.maker = ears.maker

    async def hear(self, speech: Speech, ended_us: int, key: Key) -> AsyncIterator[Heard]:
        if (key.call, key.turn) == (2, 1):
            self.reached.set()
            if self._hang:
                await asyncio.Event().wait()
            raise KeyError("something that was said")
        async for heard in self._ears.hear(speech, ended_us, key):
            yield heard


def ends(log: MemoryLog) -> dict[str, list[Event]]:
    told: dict[str, list[Event]] = defaultdict(list)
    for key, value in log.records(Topic.CALLS):
        told[key].append(decode(value))
    for events in told.values():
        assert [type(e) for e in events[-3:]] == [DispositionSet, CallEnded, SourceClosed]
        assert [e.seq for e in events] == list(range(len(events)))
    return told


async def test_a_bug_in_a_port_ends_its_own_call_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    async with serve() as url, world(Provider("simulated", url)) as ports:
        odd = replace(ports, ears=_Odd(ports.ears, hang=False))
        summaries = await run_calls(Run(AGENT, "t", "c"), odd, log, 5, concurrency=2)
    assert [s.number for s in summaries if s.reason is EndReason.FAILED] == [2]
    assert len(ends(log)) == 5
    assert "KeyError" in caplog.text
    assert "something that was said" not in caplog.text


async def test_every_event_of_a_call_names_whom_it_rang() -> None:
    told = (await ran(calls=2, lead=lambda number: lead_id(b"key", f"crm-{number}"))).events()
    assert {number: {e.lead for e in events} for number, events in told.items()} == {
        0: {lead_id(b"key", "crm-0")},
        1: {lead_id(b"key", "crm-1")},
    }


async def test_calls_that_are_cancelled_close_their_logs() -> None:
    log = MemoryLog()
    async with serve() as url, world(Provider("simulated", url)) as ports:
        ears = _Odd(ports.ears, hang=True)
        running = asyncio.create_task(run_call(Run(AGENT, "t", "c"), replace(ports, ears=ears), log, 2))
        await ears.reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    (events,) = ends(log).values()
    assert [e.reason for e in of(events, CallEnded)] == [EndReason.FAILED]


class Crowded(MemoryLog):
    """Has no room for another call while `crowded`; what runs it goes on to take."""

    crowded = False

    @property
    def accepts_calls(self) -> bool:
        return not self.crowded


async def test_no_call_starts_without_room_and_those_that_run_go_on() -> None:
    log = Crowded()
    run = Run(AGENT, "tenant", "campaign", start_us=lambda n: START_US + n * 1_000_000)
    over: list[int] = []

    async def ended(summary: CallSummary) -> None:
        over.append(summary.number)
        log.crowded = True

    async with serve() as url, world(Provider("simulated", url)) as ports:
        with pytest.raises(CallRefused, match=r"no call starts.*see that it runs.*start the call again"):
            await run_calls(run, ports, log, 8, concurrency=3, ended=ended)
        began = list(ends(log))
        assert 1 <= len(over) == len(began) < 8
        assert all(isinstance(events[-1], SourceClosed) for events in ends(log).values())
        with pytest.raises(CallRefused):
            await run_call(run, ports, log, 8)
        assert list(ends(log)) == began, "nothing was said of it"
        log.crowded = False
        assert (await run_call(run, ports, log, 8)).number == 8
