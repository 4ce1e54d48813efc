"""Pipecat's spans: what its own recorded trace tells, and each trap by itself."""

import random
from collections import Counter

import pytest

from runtime.events import (
    CallEnded,
    CallStarted,
    Component,
    Direction,
    EndReason,
    ErrorQuoted,
    Outcome,
    SourceClosed,
    SpanEnded,
    SpanStatus,
    TurnEnded,
    WordsHeard,
    WordsSaid,
)
from tests.unit.foreign import NOW_US, of, read, recorded, span, told

RECORDED = "pipecat-1.14.0.jsonl"
USAGE = {"gen_ai.usage.output_tokens": 3}


def conversation(end_ms: float = 9_000) -> tuple[str, dict]:
    return span("conversation", 0, end_ms, id=1, scope="pipecat.turn")


def turn(number: int, start_ms: float, end_ms: float, id: int, **attributes: object) -> tuple[str, dict]:
    named = {f"turn.{name}": v for name, v in attributes.items()}
    return span("turn", start_ms, end_ms, {"turn.number": number, **named}, id=id, parent=1, scope="pipecat.turn")


def answered(first: int, number: int = 1, start_ms: float = 0, **attributes: object) -> list[tuple[str, dict]]:
    """A turn whose caller falls silent at 1,000 ms and hears the agent 900 ms later."""
    at = start_ms
    return [
        span("stt", at, at + 1_300, {"metrics.ttfb": 0.3}, id=first + 1, parent=first),
        span("llm", at + 1_500, at + 1_900, {"metrics.ttfb": 0.2, **USAGE}, id=first + 2, parent=first),
        span("tts", at + 1_720, at + 2_500, {"metrics.ttfb": 0.15}, id=first + 3, parent=first),
        turn(number, at + 200, at + 3_000, first, user_bot_latency_seconds=0.9, **attributes),
    ]


# ── recorded with Pipecat itself ──


def test_the_recorded_call_has_its_turns_and_what_became_of_them() -> None:
    injected, spans = recorded(RECORDED)
    turns = of(told(spans), TurnEnded)
    # Pipecat counts four turns of the caller's; two of them hold a first try that nobody answered.
    assert len([t for t in turns if t.latency_us is not None]) == injected["turns"]
    assert [t.turn for t in turns] == [1, 2, 3, 4, 5, 6]
    assert [t.outcome for t in turns] == [
        *(Outcome.ANSWERED, Outcome.INTERRUPTED, Outcome.DISAPPEARED, Outcome.ANSWERED),
        *(Outcome.DISAPPEARED, Outcome.ANSWERED),
    ]


def test_the_recorded_latencies_are_those_that_were_injected() -> None:
    injected, spans = recorded(RECORDED)
    events = told(spans)
    heard = [t.latency_us / 1e6 for t in of(events, TurnEnded) if t.latency_us is not None]
    assert heard == pytest.approx(injected["latency_s"], abs=0.06)
    for component in (Component.END_OF_TURN, Component.ASR, Component.RESPONSE, Component.TTS):
        spans_of = [
            s for s in of(events, SpanEnded) if s.component == component and s.turn and s.latency_us is not None
        ]
        assert len(spans_of) >= injected["turns"]
        assert [s.latency_us / 1e6 for s in spans_of if s.latency_us] == pytest.approx(
            [injected[f"{component}_s"]] * len(spans_of), abs=0.06
        )


def test_the_recorded_parts_add_up() -> None:
    _, spans = recorded(RECORDED)
    events = told(spans)
    for ended in of(events, TurnEnded):
        if ended.latency_us is None:
            continue
        parts = [
            s.latency_us
            for s in of(events, SpanEnded)
            if s.turn == ended.turn and s.component in {"end_of_turn", "response", "tts"}
        ]
        assert sum(p for p in parts if p is not None) + (ended.unattributed_us or 0) == ended.latency_us
        assert abs(ended.unattributed_us or 0) < 60_000


def test_a_model_that_was_cut_or_failed_has_no_latency_in_the_recorded_call() -> None:
    _, spans = recorded(RECORDED)
    models = [s for s in of(told(spans), SpanEnded) if s.component == Component.RESPONSE]
    assert Counter(m.status for m in models) == {SpanStatus.OK: 4, SpanStatus.CANCELLED: 1, SpanStatus.ERROR: 1}
    # They carry a time to first byte all the same, though no token came.
    assert all(m.first_us is None is m.latency_us for m in models if m.status is not SpanStatus.OK)


def test_the_recorded_words_are_content_and_only_when_asked_for() -> None:
    _, without = recorded(RECORDED)
    assert not [e for e in told(without) if e.CONTENT]
    _, spans = recorded(RECORDED, content=True)
    events = told(spans)
    assert [w.text for w in of(events, WordsHeard)] == [
        *("first thing", "second thing", "never mind", "third thing", "break it", "fourth thing")
    ]
    assert [w.text for w in of(events, WordsSaid)] == ["All good."] * 4
    assert any("cannot answer 'break it'" in e.text for e in of(events, ErrorQuoted))


def test_a_call_has_one_start_and_one_end_and_is_never_said_to_be_complete() -> None:
    _, spans = recorded(RECORDED)
    events = told(spans)
    (started,) = of(events, CallStarted)
    assert started.direction is Direction.INBOUND  # the program says so in an attribute
    assert started.campaign == "spring"
    assert started.agent == "pipecat-agent"
    assert [e.reason for e in of(events, CallEnded)] == [EndReason.UNKNOWN]
    assert not of(events, SourceClosed)
    assert {e.source for e in events} == {"door"}


def test_the_order_of_arrival_changes_nothing() -> None:
    _, spans = recorded(RECORDED)
    expected = told(spans)
    for seed in range(5):
        mixed = list(spans)
        random.Random(seed).shuffle(mixed)
        assert told(mixed) == expected


# ── traps ──


def test_a_greeting_is_turn_1_of_pipecat_and_the_opening_of_ours() -> None:
    greeting = [
        turn(1, 0, 900, 10, was_interrupted=False),
        span("tts", 50, 800, {"metrics.ttfb": 0.1}, id=11, parent=10),
    ]
    events = told(read([*greeting, *answered(20, 2, 1_000), conversation()]))
    assert [t.turn for t in of(events, TurnEnded)] == [1]
    assert [s.turn for s in of(events, SpanEnded) if s.component == Component.TTS] == [0, 1]


def test_the_ears_took_what_came_after_the_speech_and_not_its_length() -> None:
    (asr,) = [s for s in of(told(read([*answered(10), conversation()])), SpanEnded) if s.component == Component.ASR]
    assert (asr.latency_us, asr.at) == (300_000, NOW_US + 1_300_000)


def test_ears_without_a_figure_tell_no_latency() -> None:
    spans = read([span("stt", 0, 1_300, id=11, parent=10), turn(1, 0, 3_000, 10), conversation()])
    assert [s.component for s in of(told(spans), SpanEnded)] == [Component.TURN]


def test_the_wait_for_the_end_of_the_turn_is_from_silence_to_the_model() -> None:
    events = told(read([*answered(10), conversation()]))
    (waited,) = [s for s in of(events, SpanEnded) if s.component == Component.END_OF_TURN]
    assert (waited.latency_us, waited.at) == (500_000, NOW_US + 1_500_000)
    (ended,) = of(events, TurnEnded)
    assert ended.unattributed_us == 900_000 - 500_000 - 200_000 - 150_000


def test_the_last_turn_is_not_interrupted_because_the_pipeline_ended() -> None:
    for mark in ({"was_interrupted": True}, {"was_interrupted": True, "ended_by_conversation_end": True}):
        (ended,) = of(told(read([*answered(10, **mark), conversation()])), TurnEnded)
        assert ended.outcome is Outcome.ANSWERED


def test_a_turn_is_interrupted_when_another_follows_it() -> None:
    spans = [*answered(10, was_interrupted=True), *answered(20, 2, 3_000), conversation()]
    assert [t.outcome for t in of(told(read(spans)), TurnEnded)] == [Outcome.INTERRUPTED, Outcome.ANSWERED]


def test_who_hung_up_on_silence_was_not_answered() -> None:
    spans = read(
        [span("stt", 0, 1_300, {"metrics.ttfb": 0.3}, id=11, parent=10), turn(1, 0, 3_000, 10), conversation()]
    )
    (ended,) = of(told(spans), TurnEnded)
    assert (ended.outcome, ended.latency_us) == (Outcome.HUNG_UP, None)


def test_a_pipeline_that_counts_no_tokens_is_believed_by_what_it_said() -> None:
    spans = [
        span("stt", 0, 1_300, {"metrics.ttfb": 0.3}, id=11, parent=10),
        span("llm", 1_500, 1_600, {"metrics.ttfb": 0.1}, id=12, parent=10),
        span("llm", 1_700, 1_900, {"metrics.ttfb": 0.2, "output": "Yes."}, id=13, parent=10),
        turn(1, 0, 3_000, 10, user_bot_latency_seconds=0.9),
        conversation(),
    ]
    models = [s for s in of(told(read(spans)), SpanEnded) if s.component == Component.RESPONSE]
    assert [m.status for m in models] == [SpanStatus.CANCELLED, SpanStatus.OK]


def test_a_model_that_picked_a_tool_is_a_decision() -> None:
    spans = [
        span("stt", 0, 1_300, {"metrics.ttfb": 0.3}, id=11, parent=10),
        span("llm", 1_500, 1_800, {"metrics.ttfb": 0.2, **USAGE}, id=12, parent=10),
        span("llm", 2_000, 2_300, {"metrics.ttfb": 0.2, "output": "Done.", **USAGE}, id=13, parent=10),
        span("tts", 2_250, 2_500, {"metrics.ttfb": 0.1}, id=14, parent=10),
        turn(1, 0, 3_000, 10, user_bot_latency_seconds=1.5),
        conversation(),
    ]
    events = told(read(spans))
    assert [(s.component, s.latency_us) for s in of(events, SpanEnded) if s.component in {"decision", "response"}] == [
        ("decision", 300_000),
        ("response", 200_000),
    ]
    (ended,) = of(events, TurnEnded)
    assert ended.unattributed_us == 1_500_000 - 500_000 - 300_000 - 200_000 - 100_000  # the tool has no span


def test_a_voice_that_was_cut_has_no_latency() -> None:
    spans = [*answered(10), conversation()]
    spans[2] = span("tts", 1_720, 2_500, {"metrics.ttfb": 0.15, "tts.interrupted": True}, id=13, parent=10)
    (voice,) = [s for s in of(told(read(spans)), SpanEnded) if s.component == Component.TTS]
    assert (voice.status, voice.latency_us) == (SpanStatus.CANCELLED, None)


def test_parts_whose_turn_never_came_are_told_without_one() -> None:
    events = told(read([span("llm", 0, 500, {"metrics.ttfb": 0.2, **USAGE}, id=12, parent=10)]))
    assert [(s.component, s.turn, s.latency_us) for s in of(events, SpanEnded)] == [("response", 0, 200_000)]
    assert not of(events, CallEnded)


def test_parts_come_after_their_whole_in_number() -> None:
    _, spans = recorded(RECORDED)
    spans_told = of(told(spans), SpanEnded)
    numbers = {s.span for s in spans_told}
    assert len(numbers) == len(spans_told)
    assert all(s.parent == 0 or (s.parent in numbers and s.parent < s.span) for s in spans_told)
