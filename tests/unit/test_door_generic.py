"""Other spans of generative AI, and whose call it is."""

import pytest

from ingest.door.limits import ANCESTORS_MAX
from runtime.events import CallEnded, CallStarted, Direction, EndReason, SpanEnded, SpanStatus, TurnEnded
from tests.unit.foreign import NOW_US, of, read, span, told

LEAD = "0123456789abcdef0123456789abcdef"


def chat(**attributes: object) -> tuple[str, dict]:
    named = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
    first = {"gen_ai.response.time_to_first_chunk": 0.25}
    return span("chat gpt-4o", 100, 900, {**named, **first, **attributes}, id=2, parent=1, scope="opentelemetry.openai")


def root(**attributes: object) -> tuple[str, dict]:
    named = {"gen_ai.operation.name": "invoke_agent", **attributes}
    return span("invoke_agent x", 0, 1_000, named, id=1, scope="my.agent")


def test_a_span_becomes_a_component_named_by_its_operation() -> None:
    events = told(read([root(), chat()], service_name="helper", service_version="1.2"))
    assert [(s.component, s.provider, s.model, s.first_us, s.duration_us, s.turn) for s in of(events, SpanEnded)] == [
        ("chat", "openai", "gpt-4o", 250_000, 800_000, 0),
        ("invoke_agent", "", "", None, 1_000_000, 0),
    ]
    assert [(e.at, e.reason) for e in of(events, CallEnded)] == [(NOW_US + 1_000_000, EndReason.UNKNOWN)]
    assert [(e.at, e.direction) for e in of(events, CallStarted)] == [(NOW_US, Direction.UNKNOWN)]
    assert not of(events, TurnEnded)
    assert {(e.agent, e.agent_version) for e in events} == {("helper", "1.2")}


def test_an_operation_that_nobody_knows_is_other() -> None:
    events = told(read([root(), chat(**{"gen_ai.operation.name": "whisper_Ottilie"})]))
    assert [s.component for s in of(events, SpanEnded)] == ["other", "invoke_agent"]


def test_an_error_is_one() -> None:
    scope, made = root()
    events = told(read([(scope, {**made, "status": {"code": 2}})]))
    assert [s.status for s in of(events, SpanEnded)] == [SpanStatus.ERROR]
    assert [e.reason for e in of(events, CallEnded)] == [EndReason.FAILED]


def test_the_older_name_of_the_provider_will_do() -> None:
    old = span("completion", 0, 500, {"gen_ai.system": "anthropic"}, id=3, parent=1, scope="old")
    assert [(s.component, s.provider) for s in of(told(read([root(), old])), SpanEnded)] == [
        ("other", "anthropic"),
        ("invoke_agent", ""),
    ]


def test_a_call_is_of_the_campaign_direction_and_lead_that_its_spans_name() -> None:
    named = {"turnlog.campaign": "autumn", "turnlog.direction": "outbound", "turnlog.lead": LEAD}
    for event in told(read([root(**named), chat()], turnlog_campaign="spring", deployment_environment="production")):
        assert (event.campaign, event.lead, event.env, event.tenant) == ("autumn", LEAD, "production", "default")
        if isinstance(event, CallStarted):
            assert event.direction is Direction.OUTBOUND


@pytest.mark.parametrize("lead", ["+49305550100", "Ottilie", LEAD.upper(), LEAD[:-1], "crm-4711"])
def test_a_lead_that_is_no_pseudonym_is_left_out(lead: str) -> None:
    assert {e.lead for e in told(read([root(**{"turnlog.lead": lead})]))} == {""}


def test_a_campaign_that_is_no_name_is_not_taken() -> None:
    for words in ("Ottilie Meier", "030 5550100"):
        assert {e.campaign for e in told(read([root(**{"turnlog.campaign": words})]))} == {"door"}


def test_spans_that_point_at_each_other_end_somewhere() -> None:
    circle = [
        span("a", 0, 10, {"gen_ai.operation.name": "chat"}, id=1, parent=2, scope="x"),
        span("b", 0, 10, {"gen_ai.operation.name": "chat"}, id=2, parent=1, scope="x"),
        span("llm", 0, 10, {"metrics.ttfb": 0.1}, id=3, parent=3),
    ]
    assert len(of(told(read(circle)), SpanEnded)) == 3


def test_a_span_is_looked_up_so_far_and_no_farther() -> None:
    tower = [span("x", 0, 10, id=n, parent=n + 1, scope="x") for n in range(1, ANCESTORS_MAX)]
    turn = span("turn", 0, 10, {"turn.number": 1, "turn.user_bot_latency_seconds": 1.0}, id=ANCESTORS_MAX, parent=99)
    near = span("llm", 0, 5, {"metrics.ttfb": 0.1}, id=500, parent=1)
    far = [span("llm", 0, 5, {"metrics.ttfb": 0.1}, id=501, parent=502), span("x", 0, 9, id=502, parent=1, scope="x")]
    spans = of(told(read([*tower, turn, near, *far])), SpanEnded)
    assert [(s.component, s.turn) for s in spans if s.component == "response"] == [("response", 1), ("response", 0)]
