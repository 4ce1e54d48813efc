"""The fold of one call's events: whole calls, calls that still run, and calls of which something is missing."""

from typing import Any

import pytest

from alerts.slos import GlitchObjective, SpanObjective, TurnObjective
from grafana.call import Span, Unknown, breaches, call_record
from grafana.call.fold import MISSING_RANGES_MAX
from runtime.events import (
    CallEnded,
    CallStarted,
    Detector,
    Direction,
    DispositionSet,
    EndReason,
    Event,
    GlitchDetected,
    GlitchKind,
    NodeEntered,
    Outcome,
    SourceClosed,
    SpanEnded,
    SpanStatus,
    Speaker,
    SpeechEnded,
    SpeechStarted,
    ToolFired,
    TurnEnded,
)

CALL = "01890f3c-5d2e-7a4b-9c8d-1e2f3a4b5c6d"
ZERO_US = 1_700_000_000_000_000
MS = 1_000


class Teller:
    """Says events of one source in order; times in ms from the call's start."""

    def __init__(self, source: str = "runtime") -> None:
        self.source = source
        self.events: list[Event] = []

    def say(self, kind: type[Event], at_ms: float, /, **payload: Any) -> None:
        envelope = {"stream": CALL, "source": self.source, "v": 1, "tenant": "acme", "campaign": "spring"}
        at_us = ZERO_US + round(at_ms * MS)
        self.events.append(kind(**envelope, seq=len(self.events), at=at_us, agent="booker", **payload))

    def span(self, number: int, parent: int, component: str, start_ms: int, end_ms: int, **more: Any) -> None:
        more = {"turn": 1, **more}
        length_us = (end_ms - start_ms) * MS
        self.say(SpanEnded, end_ms, span=number, parent=parent, component=component, duration_us=length_us, **more)

    def close(self, at_ms: float) -> None:
        self.say(SourceClosed, at_ms, last_seq=len(self.events))


def usual() -> Teller:
    """A greeting, and one turn that is answered 1,300 ms after the caller's last word."""
    t = Teller()
    t.say(CallStarted, 0, direction=Direction.OUTBOUND)
    t.say(NodeEntered, 0, turn=0, node="greet")
    t.say(SpeechStarted, 100, speaker=Speaker.AGENT, turn=0)
    t.say(SpeechEnded, 900, speaker=Speaker.AGENT, turn=0, duration_us=800 * MS)
    t.span(1, 0, "opening", 0, 900, turn=0, first_us=100 * MS)
    t.say(SpeechStarted, 1_000, speaker=Speaker.CALLER, turn=1)
    t.say(SpeechEnded, 2_000, speaker=Speaker.CALLER, turn=1, duration_us=1_000 * MS)
    t.span(4, 3, "asr", 2_000, 2_200)
    t.span(3, 2, "end_of_turn", 2_000, 2_450)
    t.span(5, 2, "decision", 2_450, 2_850, first_us=400 * MS, ready_us=400 * MS)
    t.say(ToolFired, 2_850, turn=1, node="greet", tool="book", next_node="bye")
    t.say(NodeEntered, 2_850, turn=1, node="bye")
    t.span(6, 2, "response", 2_850, 3_400, first_us=150 * MS, ready_us=200 * MS)
    t.say(SpeechStarted, 3_300, speaker=Speaker.AGENT, turn=1)
    t.say(GlitchDetected, 3_700, turn=1, detector=Detector.PLAYOUT, kind=GlitchKind.UNDERRUN, gap_ms=120.5)
    t.span(7, 2, "tts", 3_050, 4_000, first_us=230 * MS)
    t.say(SpeechEnded, 5_000, speaker=Speaker.AGENT, turn=1, duration_us=1_700 * MS)
    t.say(TurnEnded, 5_000, turn=1, outcome=Outcome.ANSWERED, latency_us=1_300 * MS, unattributed_us=20 * MS)
    t.span(2, 0, "turn", 2_000, 5_000, first_us=1_300 * MS)
    t.say(DispositionSet, 5_000, disposition="booked")
    t.say(CallEnded, 5_000, reason=EndReason.AGENT_ENDED)
    t.close(5_000)
    return t


def parts(events: list[Event], turn: int = 1) -> list[tuple[str, int]]:
    (found,) = [t for t in call_record(events).turns if t.number == turn]
    return [(s.component, s.length_us // MS) for s in found.segments]


def test_a_call_has_its_facts_its_turns_and_is_complete() -> None:
    record = call_record(usual().events)
    assert (record.call_id, record.tenant, record.campaign, record.agent) == (CALL, "acme", "spring", "booker")
    assert (record.direction, record.end_reason, record.disposition) == ("outbound", "agent_ended", "booked")
    assert (record.started_us, record.begin_us, record.end_us) == (ZERO_US, 0, 5_000 * MS)
    assert record.complete
    assert [s.stored for s in record.sources] == [s.said for s in record.sources] == [22]
    opening, turn = record.turns
    assert [n.node for n in opening.nodes] == ["greet"]
    assert (turn.number, turn.outcome, turn.start_us, turn.end_us) == (1, "answered", 1_000 * MS, 5_000 * MS)
    assert [(t.tool, t.next_node) for t in turn.tools] == [("book", "bye")]
    assert [(g.at_us, g.gap_ms) for g in turn.glitches] == [(3_700 * MS, 120.5)]
    assert [(s.speaker, s.start_us // MS, (s.end_us or 0) // MS) for s in turn.speech] == [
        ("caller", 1_000, 2_000),
        ("agent", 3_300, 5_000),
    ]


def test_the_parts_of_a_wait_add_up_and_the_rest_has_a_name() -> None:
    assert parts(usual().events) == [
        ("end_of_turn", 450),
        ("decision", 400),
        ("response", 200),
        ("tts", 230),
        ("unattributed", 20),
    ]


def test_spans_are_a_tree_and_each_begins_at_its_end_less_its_length() -> None:
    events = usual().events
    spans = [s for t in call_record(events).turns for s in t.spans]
    assert [(s.depth, s.component) for s in spans] == [
        (0, "opening"),
        (0, "turn"),
        (1, "end_of_turn"),
        (2, "asr"),
        (1, "decision"),
        (1, "response"),
        (1, "tts"),
    ]
    said = {e.span: e.at - e.duration_us - ZERO_US for e in events if isinstance(e, SpanEnded)}
    assert {s.span: s.start_us for s in spans} == said


def test_overlapping_parts_leave_a_negative_rest() -> None:
    events = [e for e in usual().events if not isinstance(e, TurnEnded)]
    late = usual()
    late.say(TurnEnded, 5_000, turn=1, outcome=Outcome.ANSWERED, latency_us=1_200 * MS, unattributed_us=-80 * MS)
    found = parts([*events, late.events[-1]])
    assert found[-1] == ("unattributed", -80)
    assert sum(length for _, length in found) == 1_200


def test_an_unanswered_turn_shows_what_was_cut() -> None:
    t = Teller()
    t.span(2, 1, "end_of_turn", 0, 450)
    t.span(3, 1, "tts", 450, 6_000, status=SpanStatus.CANCELLED)
    t.span(1, 0, "turn", 0, 6_000, status=SpanStatus.CANCELLED)
    t.say(TurnEnded, 7_000, turn=1, outcome=Outcome.DISAPPEARED)
    (turn,) = call_record(t.events).turns
    assert [(s.component, s.length_us // MS, s.cut) for s in turn.segments] == [
        ("end_of_turn", 450, False),
        ("tts", 5_550, True),
    ]
    assert turn.latency_us is None
    assert turn.waited_us == 6_000 * MS


def test_a_voice_that_was_cut_later_still_counts_to_its_first_byte() -> None:
    t = Teller()
    t.span(2, 1, "tts", 0, 3_000, first_us=300 * MS, status=SpanStatus.CANCELLED)
    t.span(1, 0, "turn", 0, 3_000, first_us=300 * MS)
    t.say(TurnEnded, 3_000, turn=1, outcome=Outcome.INTERRUPTED, latency_us=300 * MS, unattributed_us=0)
    assert parts(t.events) == [("tts", 300)]


def test_a_call_that_runs_is_open_and_not_complete() -> None:
    record = call_record(usual().events[:6])  # the caller speaks, and has not ended
    assert not record.ended
    assert not record.complete
    (source,) = record.sources
    assert (source.stored, source.said, source.missing) == (6, None, ())
    speaking = record.turns[1].speech[0]
    assert (speaking.speaker, speaking.end_us) == ("caller", None)


def test_what_is_missing_is_named_by_its_numbers() -> None:
    events = [e for e in usual().events if e.seq not in {0, 7, 8, 9, 20}]
    record = call_record(events)
    assert record.sources[0].missing == ((0, 0), (7, 9), (20, 20))
    assert (record.started, record.ended, record.end_reason) == (False, False, "")
    assert record.started_us == ZERO_US  # by the earliest that is left
    assert not record.complete


def test_a_lost_end_of_a_source_is_missing_up_to_what_another_delivery_says() -> None:
    events = [e for e in usual().events if e.seq < 3]
    assert call_record([*events, usual().events[-1]]).sources[0].missing == ((3, 20),)


def test_a_source_full_of_holes_names_a_bounded_number_of_them() -> None:
    t = Teller()
    for at in range(100):
        t.say(NodeEntered, at, turn=0, node="n")
    assert len(call_record(t.events[::2]).sources[0].missing) == MISSING_RANGES_MAX


def test_children_whose_root_is_missing_are_still_its_parts() -> None:
    """The root ends last, so a call that was cut off lacks it first."""
    events = [e for e in usual().events if not (isinstance(e, SpanEnded) and e.component == "turn")]
    assert parts(events) == parts(usual().events)
    spans: list[Span] = [s for t in call_record(events).turns for s in t.spans if t.number]
    assert {s.component for s in spans if s.orphan} == {"end_of_turn", "decision", "response", "tts"}
    assert [s.depth for s in spans if s.component == "asr"] == [1]


def test_a_missing_part_becomes_the_rest_and_differs_from_what_the_source_states() -> None:
    events = [e for e in usual().events if not (isinstance(e, SpanEnded) and e.component == "decision")]
    assert parts(events)[-1] == ("unattributed", 420)
    (turn,) = [t for t in call_record(events).turns if t.number]
    assert turn.unattributed_us == 20 * MS


def test_a_span_that_is_its_own_ancestor_is_an_orphan() -> None:
    t = Teller()
    t.span(1, 2, "turn", 0, 10)
    t.span(2, 1, "tts", 0, 10)
    t.span(3, 3, "asr", 0, 10)
    spans = call_record(t.events).turns[0].spans
    assert sorted((s.span, s.orphan, s.depth) for s in spans) == [(1, True, 0), (2, False, 1), (3, True, 0)]


def test_several_sources_count_for_themselves_and_their_spans_do_not_mix() -> None:
    audio = Teller("audio")
    audio.say(GlitchDetected, 3_710, turn=1, detector=Detector.AUDIO, kind=GlitchKind.UNDERRUN, gap_ms=118)
    audio.span(2, 0, "check", 0, 4_000)
    audio.span(3, 2, "decode", 0, 1_000)
    runtime = usual()
    record = call_record([*audio.events, *runtime.events])
    assert [(s.name, s.complete) for s in record.sources] == [("runtime", True), ("audio", False)]
    (turn,) = [t for t in record.turns if t.number]
    assert [(g.source, g.gap_ms) for g in turn.glitches] == [("runtime", 120.5), ("audio", 118.0)]
    assert [s.component for s in turn.spans if s.source == "audio"] == ["check", "decode"]
    assert [s.component for s in turn.segments] == [name for name, _ in parts(runtime.events)]


def test_an_end_without_a_beginning_brings_its_own_length() -> None:
    t = Teller()
    t.say(SpeechEnded, 2_000, speaker=Speaker.CALLER, turn=1, duration_us=700 * MS)
    record = call_record(t.events)
    assert record.started_us == ZERO_US + 1_300 * MS
    assert [(s.start_us, s.end_us) for s in record.turns[0].speech] == [(0, 700 * MS)]


def test_a_speech_whose_end_is_lost_is_over_when_the_same_speaker_begins_again() -> None:
    t = Teller()
    t.say(SpeechStarted, 0, speaker=Speaker.AGENT, turn=1)
    t.say(SpeechStarted, 500, speaker=Speaker.CALLER, turn=1)
    t.say(SpeechStarted, 900, speaker=Speaker.AGENT, turn=2)
    t.say(SpeechEnded, 1_500, speaker=Speaker.AGENT, turn=2, duration_us=600 * MS)
    speech = [s for turn in call_record(t.events).turns for s in turn.speech]
    assert [(s.speaker, s.end_us, s.until_us // MS) for s in speech] == [
        ("agent", None, 900),
        ("caller", None, 1_500),
        ("agent", 1_500 * MS, 1_500),
    ]


def test_events_of_unknown_types_are_points() -> None:
    newer = Unknown(stream=CALL, source="runtime", seq=22, at=ZERO_US + 4_000 * MS, type="SafetyTriggered")
    record = call_record([*usual().events, newer])
    assert [(p.type, p.at_us) for p in record.points] == [("SafetyTriggered", 4_000 * MS)]
    assert len(record.events) == 23
    alone = call_record([Unknown(stream=CALL, source="x", seq=3, at=9, type="T", tenant="acme", campaign="c")])
    assert (alone.tenant, alone.campaign, alone.turns) == ("acme", "c", ())
    assert alone.sources[0].missing == ((0, 2),)


def test_a_repeated_event_counts_once() -> None:
    events = usual().events
    assert call_record([*events, *events[3:9]]) == call_record(events)


def test_a_record_is_of_one_call() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        call_record([])


def test_a_call_is_held_against_each_kind_of_objective() -> None:
    limits = (
        SpanObjective(name="slow", summary="s", component="tts", figure="first_us", above_us=229_999),
        SpanObjective(name="exact", summary="s", component="tts", figure="first_us", above_us=230_000),
        SpanObjective(name="ready", summary="s", component="response", figure="latency_us", above_us=199_000),
        GlitchObjective(name="gap", summary="g", at_least_ms=120.5),
        GlitchObjective(name="wider", summary="g", at_least_ms=120.6),
        TurnObjective(name="said", summary="t", outcome=Outcome.ANSWERED),
        TurnObjective(name="gone", summary="t", outcome=Outcome.DISAPPEARED),
    )
    found = breaches(call_record(usual().events), limits)
    assert [(b.objective, b.turn, b.value_us) for b in found] == [
        ("slow", 1, 230_000),
        ("ready", 1, 200_000),
        ("gap", 1, 120_500),
        ("said", 1, None),
    ]


def test_a_span_that_failed_breaches_nothing() -> None:
    t = Teller()
    t.span(1, 0, "tts", 0, 9_000, first_us=8_000 * MS, status=SpanStatus.ERROR)
    limit = SpanObjective(name="slow", summary="s", component="tts", figure="first_us", above_us=1)
    assert breaches(call_record(t.events), [limit]) == ()
