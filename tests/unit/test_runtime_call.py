"""One call at a time, with a model, a voice and a caller that do exactly what they are told."""

from collections.abc import AsyncIterator

import pytest

from runtime.emit import MemoryLog
from runtime.engine.desk import Ports
from runtime.engine.turn import HEARD_CHARS_MAX
from runtime.errors import ProviderFailed
from runtime.events import (
    ErrorQuoted,
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
    WordsSaid,
    decode,
)
from runtime.graph import library
from runtime.models import Ask, Delta, Stamps
from runtime.run import CallSummary, Run, run_call
from runtime.tracing import Tracing
from runtime.voice import HangUp, Speech
from tests.unit.told import ANSWER, SECOND, ToldCaller, ToldEars, ToldModel, ToldOutside, ToldVoice

AGENT = library("appointments")
CONFIRMED = ("identity_confirmed", "{}")
OPTED_OUT = ("opt_out", "{}")


async def play(
    model: ToldModel, caller: ToldCaller | None = None, voice: ToldVoice | None = None
) -> tuple[CallSummary, list[Event]]:
    log = MemoryLog()
    ports = Ports(model, ToldEars(), voice or ToldVoice(), ToldOutside(), Tracing())
    run = Run(AGENT, "tenant", "campaign", start_us=lambda _: 1_800_000_000 * SECOND)
    summary = await run_call(run, ports, log, 0, caller=caller or ToldCaller())
    events = [decode(value) for topic in (Topic.CALLS, Topic.CONTENT) for _, value in log.records(topic)]
    assert isinstance([e for e in events if not e.CONTENT][-1], SourceClosed)
    return summary, events


def spans(events: list[Event], component: str) -> list[SpanEnded]:
    return [event for event in events if isinstance(event, SpanEnded) and event.component == component]


async def test_a_bad_choice_is_tried_once_more_with_the_reason() -> None:
    model = ToldModel([("transfer", "{}"), OPTED_OUT])
    summary, events = await play(model)
    assert summary.disposition == "opted_out"
    assert "no tool 'transfer'" in model.asks[1].messages[-1].text
    assert model.asks[0].seed != model.asks[1].seed
    (decision,) = spans(events, "decision")
    assert decision.ready_us == decision.duration_us == 2 * (SECOND // 2 + 1_000)


@pytest.mark.parametrize("bad", [("", ""), ("opt_out", "{nonsense"), ("opt_out", '{"x": 1}'), ("nothing", "{}")])
async def test_after_two_bad_choices_the_node_s_fallback_follows(bad: tuple[str, str]) -> None:
    summary, events = await play(ToldModel([bad, bad, OPTED_OUT]))
    assert summary.disposition == "opted_out"
    assert [e.node for e in events if isinstance(e, NodeEntered)] == ["greet", "greet", "opt_out"]
    assert [e.tool for e in events if isinstance(e, ToolFired)] == ["opt_out"]


async def test_the_first_sentence_goes_to_the_voice_while_the_model_still_writes() -> None:
    voice = ToldVoice()
    _, events = await play(ToldModel([CONFIRMED, OPTED_OUT]), voice=voice)
    (response,) = spans(events, "response")
    tts = spans(events, "tts")[1]
    assert response.first_us == SECOND // 2
    assert response.ready_us == SECOND // 2 + 4 * SECOND // 10  # with the fifth word
    assert response.duration_us > (response.ready_us or 0)
    assert tts.at - tts.duration_us == response.at - response.duration_us + (response.ready_us or 0)
    started = next(e for e in events if isinstance(e, SpeechStarted) and e.speaker is Speaker.AGENT and e.turn == 1)
    assert started.at < response.at


async def test_a_static_node_has_no_response_span() -> None:
    _, events = await play(ToldModel([OPTED_OUT]))
    assert spans(events, "response") == []
    assert len(spans(events, "tts")) == 2


async def test_a_tool_outside_is_timed_and_its_answer_used() -> None:
    booked = ("slot_chosen", '{"day": "Friday", "time": "morning"}')
    model = ToldModel([CONFIRMED, ("wants_appointment", '{"reason": "cleaning"}'), booked])
    summary, events = await play(model)
    assert summary.disposition == "booked"
    (tool,) = spans(events, "tool")
    assert tool.duration_us == 250_000
    assert "Friday noon" in model.asks[-1].messages[0].text


async def test_an_interruption_cuts_the_agent_after_400_ms() -> None:
    caller = ToldCaller({1: Speech("Stop.", 2 * SECOND, SECOND // 2)})
    summary, events = await play(ToldModel([CONFIRMED, OPTED_OUT]), caller)
    assert summary.outcomes == {1: Outcome.INTERRUPTED, 2: Outcome.ANSWERED}
    started = next(e for e in events if isinstance(e, SpeechStarted) and e.turn == 2)
    agent = next(e for e in events if isinstance(e, SpeechEnded) and e.turn == 1 and e.speaker is Speaker.AGENT)
    assert agent.at - started.at == 400_000
    assert agent.duration_us == 900_000
    assert [s.status for s in spans(events, "turn")] == [SpanStatus.OK, SpanStatus.OK]
    said = [e.text for e in events if isinstance(e, WordsSaid) and e.turn == 1]
    assert said == ["Thank you for confirming that."]


async def test_a_backchannel_cuts_nothing() -> None:
    caller = ToldCaller({1: Speech("Mm-hm.", 300_000, SECOND // 2)})
    summary, events = await play(ToldModel([CONFIRMED, OPTED_OUT]), caller)
    assert summary.outcomes == {1: Outcome.ANSWERED, 2: Outcome.ANSWERED}
    assert summary.turns == 2
    assert [e.text for e in events if isinstance(e, WordsSaid) and e.turn == 1] == [ANSWER]


@pytest.mark.parametrize("after_us", [1_950_000, 2_500_000, 60_000_000])
async def test_an_overlap_at_or_after_the_end_is_no_overlap_of_much(after_us: int) -> None:
    for duration_us in (300_000, 900_000):
        summary, _ = await play(
            ToldModel([CONFIRMED, OPTED_OUT]), ToldCaller({1: Speech("Mm.", duration_us, after_us)})
        )
        assert summary.disposition == "opted_out"
        assert set(summary.outcomes) == {1, 2}


async def test_a_caller_may_leave_in_the_middle_of_a_word() -> None:
    summary, _ = await play(ToldModel([CONFIRMED]), ToldCaller({1: HangUp(SECOND // 2)}))
    assert summary.disposition == "caller_hung_up"
    assert summary.outcomes == {1: Outcome.ANSWERED}
    summary, _ = await play(ToldModel([CONFIRMED]), ToldCaller({1: HangUp(50_000)}))
    assert summary.outcomes == {1: Outcome.HUNG_UP}


async def test_a_cut_in_the_middle_of_a_decision_leaves_the_call_where_it_was() -> None:
    summary, events = await play(ToldModel([CONFIRMED, OPTED_OUT]), ToldCaller(patience_us=600_000))
    assert summary.outcomes[1] is Outcome.DISAPPEARED
    cancelled = {s.component: s.at for s in events if isinstance(s, SpanEnded) and s.status is SpanStatus.CANCELLED}
    assert {"decision", "turn"} <= set(cancelled)


async def test_a_voice_that_breaks_ends_the_call_and_closes_every_speech_and_span() -> None:
    summary, events = await play(ToldModel([CONFIRMED]), voice=ToldVoice(fails_at=5))
    assert (summary.disposition, summary.reason) == ("failed", "failed")
    assert sum(isinstance(e, SpeechStarted) for e in events) == sum(isinstance(e, SpeechEnded) for e in events)
    assert {s.component for s in events if isinstance(s, SpanEnded) and s.status is SpanStatus.ERROR} >= {"tts", "turn"}


async def test_what_a_provider_said_of_its_failure_is_content() -> None:
    class Quoting(ToldModel):
        def complete(self, _ask: Ask, _clock: Stamps) -> AsyncIterator[Delta]:
            raise ProviderFailed("told", "400", "flagged: 'call me on +1 555 123 4567'")

    _, events = await play(Quoting([]))
    (quoted,) = [e for e in events if isinstance(e, ErrorQuoted)]
    assert quoted.text == "flagged: 'call me on +1 555 123 4567'"
    assert "4567" not in str([e for e in events if not e.CONTENT])


async def test_a_model_with_no_words_is_a_failure() -> None:
    summary, _ = await play(ToldModel([CONFIRMED], answer=""))
    assert summary.disposition == "failed"


async def test_a_model_that_is_slow_between_sentences_opens_a_gap_that_is_found() -> None:
    answer = "Thank you for confirming that. " + "well " * 12 + "what can I do for you?"
    _, events = await play(ToldModel([CONFIRMED, OPTED_OUT], answer=answer))
    (glitch,) = [e for e in events if isinstance(e, GlitchDetected)]
    assert glitch.gap_ms > 500


async def test_a_speech_has_a_limit() -> None:
    model = ToldModel([OPTED_OUT])
    await play(model, ToldCaller(words="x" * 100_000))
    assert len(model.asks[0].messages[-1].text) == HEARD_CHARS_MAX


async def test_a_number_that_is_spoken_stays_in_the_content() -> None:
    _, events = await play(ToldModel([OPTED_OUT]), ToldCaller(words="+1 555 123 4567"))
    assert "123 4567" not in str([e for e in events if not e.CONTENT])
    assert "123 4567" in str([e for e in events if e.CONTENT])
    assert all(isinstance(e.turn, int) for e in events if isinstance(e, TurnEnded))
