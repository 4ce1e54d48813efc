"""LiveKit's spans in its three dialects: what its recorded trace tells, what composed older ones do, and each trap."""

from typing import Any

import pytest

from runtime.events import (
    ArgumentsGiven,
    CallEnded,
    Component,
    DataGiven,
    EndReason,
    ErrorQuoted,
    Outcome,
    SpanEnded,
    SpanStatus,
    SpeechEnded,
    ToolFired,
    TurnEnded,
    WordsHeard,
    WordsSaid,
)
from runtime.voice.outcome import outcomes
from tests.unit.foreign import NOW_US, of, read, recorded, span, told

RECORDED = "livekit-1.8.9.jsonl"
OLDER = ("livekit-1.2-composed.jsonl", "livekit-1.6-composed.jsonl")
Made = tuple[str, dict[str, Any]]


def made(name: str, start_ms: float, end_ms: float, attributes: dict[str, Any] | None = None, **more: Any) -> Made:
    return span(name, start_ms, end_ms, attributes, scope="livekit-agents", **more)


def session(end_ms: float = 20_000) -> Made:
    return made("agent_session", 0, end_ms, id=1)


def asked(first: int, at: float = 0, **delays: float) -> list[Made]:
    """The caller speaks for a second, and the session takes it half a second later."""
    given = {"end_of_turn": 0.5, "transcription": 0.3, **delays}
    return [
        made("user_turn", at, at + 1_500, {f"lk.{k}_delay": v for k, v in given.items()}, id=first, parent=1),
        made("user_speaking", at, at + 1_000, id=first + 1, parent=first),
    ]


def answer(first: int, at: float = 1_500, **attributes: Any) -> list[Made]:
    """The agent is heard 400 ms after it was asked."""
    repeated = {"lk.e2e_latency": 0.9, "lk.end_of_turn_delay": 0.5, "lk.transcription_delay": 0.3}
    return [
        made("agent_turn", at, at + 2_000, {**repeated, **attributes}, id=first, parent=1),
        made("llm_node", at, at + 300, {"lk.response.ttft": 0.2}, id=first + 1, parent=first),
        made("tts_node", at + 210, at + 900, {"lk.response.ttfb": 0.15}, id=first + 2, parent=first),
        made("agent_speaking", at + 400, at + 1_900, id=first + 3, parent=first),
    ]


def spans_of(events: list[Any], component: str) -> list[SpanEnded]:
    return [s for s in of(events, SpanEnded) if s.component == component]


# ── recorded with LiveKit itself ──


def test_the_recorded_call_has_its_turns_and_what_became_of_them() -> None:
    injected, spans = recorded(RECORDED)
    turns = of(told(spans), TurnEnded)
    assert len(turns) == injected["turns"]
    assert [t.outcome for t in turns] == [Outcome.ANSWERED, Outcome.INTERRUPTED, Outcome.ANSWERED]
    assert [e.reason for e in of(told(spans), CallEnded)] == [EndReason.AGENT_ENDED]


def test_the_recorded_latencies_are_those_that_were_injected() -> None:
    injected, spans = recorded(RECORDED)
    events = told(spans)
    assert [t.latency_us / 1e6 for t in of(events, TurnEnded) if t.latency_us] == pytest.approx(
        injected["latency_s"], abs=0.06
    )
    for component in ("end_of_turn", "asr", "response", "tts"):
        latencies = [s.latency_us / 1e6 for s in spans_of(events, component) if s.turn and s.latency_us]
        assert latencies == pytest.approx([injected[f"{component}_s"]] * injected["turns"], abs=0.06)
    (tool,) = spans_of(events, Component.TOOL)
    assert tool.duration_us / 1e6 == pytest.approx(injected["tool_s"], abs=0.06)
    (decision,) = spans_of(events, Component.DECISION)
    assert (decision.turn, tool.turn) == (injected["tool_turn"] + 1,) * 2


def test_the_recorded_outcomes_are_what_the_speech_says() -> None:
    _, spans = recorded(RECORDED)
    events = told(spans)
    assert outcomes(events) == {t.turn: t.outcome for t in of(events, TurnEnded)}


def test_the_recorded_parts_add_up() -> None:
    _, spans = recorded(RECORDED)
    events = told(spans)
    parts = {"end_of_turn", "decision", "tool", "response", "tts"}
    for ended in of(events, TurnEnded):
        found = [s.latency_us or 0 for s in of(events, SpanEnded) if s.turn == ended.turn and s.component in parts]
        assert sum(found) + (ended.unattributed_us or 0) == ended.latency_us
        assert abs(ended.unattributed_us or 0) < 60_000


def test_the_recorded_tool_is_named_only_where_its_name_may_be_told() -> None:
    _, spans = recorded(RECORDED, content=True)
    assert not of(told(spans), ToolFired)
    assert [f.tool for f in of(told(spans, "book"), ToolFired)] == ["book"]
    assert [a.arguments for a in of(told(spans), ArgumentsGiven)] == ['{"day": "monday"}']


def test_the_recorded_words_are_content_and_only_when_asked_for() -> None:
    _, without = recorded(RECORDED)
    assert not [e for e in told(without) if e.CONTENT]
    _, spans = recorded(RECORDED, content=True)
    events = told(spans)
    assert [w.text for w in of(events, WordsHeard)] == ["first thing", "second thing", "book it"]
    assert [w.text for w in of(events, WordsSaid)] == ["Hello.", "All good.", "All good.", "All good."]
    assert "gen_ai.system_instructions" in {d.field for d in of(events, DataGiven)}


# ── older dialects, composed ──


@pytest.mark.parametrize("name", OLDER)
def test_an_older_dialect_tells_the_same(name: str) -> None:
    injected, spans = recorded(name, content=True)
    events = told(spans, "book")
    assert [(t.outcome.value, t.latency_us) for t in of(events, TurnEnded)] == [
        tuple(pair) for pair in injected["turns"]
    ]
    assert [
        (s.component, s.turn, s.status.value, s.latency_us) for s in of(events, SpanEnded) if s.component != "turn"
    ] == [tuple(each) for each in injected["spans"]]
    assert [f.tool for f in of(events, ToolFired)] == injected["tools"]
    assert [w.text for w in of(events, WordsHeard)] == injected["heard"]
    assert [w.text for w in of(events, WordsSaid)] == injected["said"]
    assert outcomes(events) == {t.turn: t.outcome for t in of(events, TurnEnded)}


# ── traps ──


def test_the_end_of_the_turn_contains_the_ears() -> None:
    events = told(read([*asked(10), *answer(20), session()]))
    (ended,) = of(events, TurnEnded)
    assert ended.unattributed_us == 900_000 - 500_000 - 200_000 - 150_000  # and not the ears' 300,000 once more
    assert [(s.latency_us, s.at - NOW_US) for s in spans_of(events, Component.ASR)] == [(300_000, 1_300_000)]


def test_a_delay_of_0_is_a_missing_one() -> None:
    spans = [*asked(10, end_of_turn=0, transcription=0), *answer(20), session()]
    spans[2] = made("agent_turn", 1_500, 3_500, {"lk.e2e_latency": 0.9}, id=20, parent=1)
    events = told(read(spans))
    assert not spans_of(events, Component.ASR) + spans_of(events, Component.END_OF_TURN)
    (ended,) = of(events, TurnEnded)
    assert (ended.latency_us, ended.unattributed_us) == (900_000, None)


def test_the_delays_are_read_from_the_reply_where_the_turn_has_none() -> None:
    events = told(read([*asked(10, end_of_turn=0, transcription=0), *answer(20), session()]))
    assert [s.latency_us for s in spans_of(events, Component.END_OF_TURN)] == [500_000]


def test_a_discarded_model_is_no_latency_and_the_last_before_the_voice_is() -> None:
    spans = [*asked(10), *answer(20), session()]
    discarded = made("llm_node", 900, 1_400, {"lk.response.ttft": 0.4}, id=30, parent=20)
    spans[2] = made(
        *("agent_turn", 890, 3_500, {"lk.e2e_latency": 0.9, "lk.end_of_turn_delay": 0.5}),
        id=20,
        parent=1,
        events=[("preemptive_generation_discarded", {"lk.speech_id": "speech_1"})],
    )
    events = told(read([*spans, discarded]))
    models = spans_of(events, Component.RESPONSE)
    assert [(m.status, m.first_us) for m in models] == [(SpanStatus.CANCELLED, None), (SpanStatus.OK, 200_000)]
    assert not spans_of(events, Component.DECISION)


def test_what_was_generated_ahead_overlaps_the_wait() -> None:
    spans = [*asked(10), *answer(20, at=1_100), session()]
    (ended,) = of(told(read(spans)), TurnEnded)
    assert ended.outcome is Outcome.ANSWERED
    spans[2] = made("agent_turn", 1_100, 3_500, {"lk.e2e_latency": 0.6, "lk.end_of_turn_delay": 0.5}, id=20, parent=1)
    (ended,) = of(told(read(spans)), TurnEnded)
    assert ended.unattributed_us == 600_000 - 500_000 - 200_000 - 150_000


def test_a_tool_lies_between_a_decision_and_a_response() -> None:
    spans = [*asked(10), *answer(20, at=1_900), session()]
    spans[2] = made("agent_turn", 1_500, 4_000, {"lk.e2e_latency": 1.3, "lk.end_of_turn_delay": 0.5}, id=20, parent=1)
    decision = made("llm_node", 1_500, 1_750, {"lk.response.ttft": 0.2}, id=30, parent=20)
    tool = made("function_tool", 1_760, 1_890, {"lk.function_tool.name": "book"}, id=31, parent=20)
    events = told(read([*spans, decision, tool]))
    assert [s.latency_us for s in spans_of(events, Component.DECISION)] == [250_000]
    assert [s.latency_us for s in spans_of(events, Component.TOOL)] == [130_000]
    (ended,) = of(events, TurnEnded)
    assert ended.unattributed_us == 1_300_000 - 500_000 - 250_000 - 130_000 - 200_000 - 150_000


def test_a_tool_that_failed_is_an_error() -> None:
    tool = made("function_tool", 1_760, 1_890, {"lk.function_tool.is_error": True}, id=31, parent=20)
    events = told(read([*asked(10), *answer(20), tool, session()]))
    assert [s.status for s in spans_of(events, Component.TOOL)] == [SpanStatus.ERROR]


def test_a_reply_cut_after_milliseconds_is_no_answer_though_it_has_a_latency() -> None:
    spans = [
        *asked(10),
        *answer(20, **{"lk.interrupted": True}),
        *asked(40, at=1_950),
        *answer(50, at=3_450),
        session(),
    ]
    spans[5] = made("agent_speaking", 1_900, 1_950, id=23, parent=20)
    events = told(read(spans))
    assert [t.outcome for t in of(events, TurnEnded)] == [Outcome.DISAPPEARED, Outcome.ANSWERED]
    assert outcomes(events) == {t.turn: t.outcome for t in of(events, TurnEnded)}


def test_a_greeting_is_the_opening_and_no_turn() -> None:
    greeting = [
        made("agent_turn", 100, 900, {"lk.interrupted": False}, id=5, parent=1),
        made("tts_node", 110, 400, {"lk.response.ttfb": 0.1}, id=6, parent=5),
    ]
    events = told(read([*greeting, *asked(10, at=1_000), *answer(20, at=2_500), session()]))
    assert [t.turn for t in of(events, TurnEnded)] == [1]
    assert [s.turn for s in spans_of(events, Component.TTS)] == [0, 1]


def test_the_turn_after_a_handoff_has_no_latency_and_is_answered() -> None:
    spans = [*asked(10), *answer(20), session()]
    spans[2] = made("agent_turn", 1_500, 3_500, {"lk.end_of_turn_delay": 0.5}, id=20, parent=1)
    (ended,) = of(told(read(spans)), TurnEnded)
    assert (ended.outcome, ended.latency_us) == (Outcome.ANSWERED, None)


def test_noise_that_was_not_taken_is_no_turn() -> None:
    noise = [made("user_turn", 100, 900, id=5, parent=1), made("user_speaking", 100, 300, id=6, parent=5)]
    events = told(read([*noise, *asked(10, at=1_000), *answer(20, at=2_500), session()]))
    assert [t.turn for t in of(events, TurnEnded)] == [1]
    assert [(s.speaker.value, s.turn) for s in of(events, SpeechEnded)] == [("caller", 0), ("caller", 1), ("agent", 1)]


def test_a_caller_without_an_answer() -> None:
    events = told(read([*asked(10), session()]))
    assert [t.outcome for t in of(events, TurnEnded)] == [Outcome.HUNG_UP]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("participant_disconnected", EndReason.CALLER_HUNG_UP),
        ("error", EndReason.FAILED),
        ("task_completed", EndReason.AGENT_ENDED),
        ("a new one", EndReason.UNKNOWN),
    ],
)
def test_why_a_session_closed(said: str, meant: EndReason) -> None:
    closed = made("session_close", 19_000, 20_000, {"lk.close_reason": said}, id=2, parent=1)
    assert [e.reason for e in of(told(read([*asked(10), closed, session()])), CallEnded)] == [meant]


def test_a_provider_s_error_is_an_error_and_its_message_content() -> None:
    quoted = "the provider cannot answer 'my name is Ottilie'"
    failed = made(
        *("llm_node", 1_500, 1_700, {}),
        id=21,
        parent=20,
        error=quoted,
        events=[("exception", {"exception.message": quoted, "exception.type": "APIError"})],
    )
    spans = [*asked(10), made("agent_turn", 1_500, 1_800, {}, id=20, parent=1), failed, session()]
    events = told(read(spans, content=True))
    assert [(s.status, s.latency_us) for s in spans_of(events, Component.RESPONSE)] == [(SpanStatus.ERROR, None)]
    assert [e.text for e in of(events, ErrorQuoted)] == [quoted, quoted]  # its status and its event
    assert not [e for e in told(read(spans)) if e.CONTENT]


def test_the_first_chunk_stands_in_for_the_first_token() -> None:
    spans = [*asked(10), *answer(20), session()]
    spans[3] = made("llm_node", 1_500, 1_800, {}, id=21, parent=20)
    request = made("llm_request", 1_500, 1_790, {"gen_ai.response.time_to_first_chunk": 0.19}, id=30, parent=21)
    assert [s.latency_us for s in spans_of(told(read([*spans, request])), Component.RESPONSE)] == [190_000]
