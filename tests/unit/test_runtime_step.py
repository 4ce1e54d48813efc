"""Routing by the tool that fired, and the two requests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engine.decide import ARGUMENTS_CHARS_MAX, Picking, decision
from runtime.engine.respond import ANSWER_CHARS_MAX, Sentences, response, static
from runtime.engine.state import LINES_MAX, CallState
from runtime.engine.step import Choice, Step, Unusable, fall_back, step
from runtime.graph import library
from runtime.models import ToolPart

AGENT = library("appointments")
AT_SLOT = CallState("slot", (), AGENT.blanks()).said("Which day?").heard("Friday morning.")
BOOK = json.dumps({"day": "Friday", "time": "morning"})


def test_the_tool_that_fired_decides_where_the_call_goes() -> None:
    taken = step(AGENT, AT_SLOT, Choice("slot_chosen", BOOK))
    assert isinstance(taken, Step)
    assert taken.state.node == "booked"
    assert taken.state.data["day"] == "Friday"
    assert taken.fired is not None
    assert (taken.fired.node, taken.fired.next_node, taken.fired.calls) == ("slot", "booked", "book")


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (Choice(), "no tool"),
        (Choice("transfer", "{}"), "no tool 'transfer'"),
        (Choice("identity_confirmed", "{}"), "no tool 'identity_confirmed'"),
        (Choice("slot_chosen", "{"), "not JSON"),
        (Choice("slot_chosen", "[]"), "no JSON object"),
        (Choice("slot_chosen", '{"day": "Friday"}'), "'time' is missing"),
        (Choice("slot_chosen", '{"day": "Sunday", "time": "morning"}'), "must be one of"),
        (Choice("slot_chosen", '{"day": 5, "time": "morning"}'), "must be one of"),
        (Choice("slot_chosen", '{"day": "Friday", "time": "morning", "x": 1}'), "only these"),
        (Choice("slot_chosen", "[" * 100_000), "not JSON"),
    ],
)
def test_a_choice_that_cannot_be_used_says_why(choice: Choice, says: str) -> None:
    found = step(AGENT, AT_SLOT, choice)
    assert isinstance(found, Unusable)
    assert says in found.why


def test_the_fallback_is_the_nodes_own() -> None:
    taken = fall_back(AGENT, AT_SLOT)
    assert (taken.state.node, taken.fired) == ("slot", None)


@given(st.text(max_size=40), st.text(max_size=200))
def test_no_answer_of_a_model_raises(tool: str, arguments: str) -> None:
    step(AGENT, AT_SLOT, Choice(tool, arguments))
    step(AGENT, AT_SLOT, Choice("slot_chosen", arguments))


def test_the_decision_sees_tools_and_conversation() -> None:
    ask = decision(AGENT, AT_SLOT, seed=7)
    assert [tool["function"]["name"] for tool in ask.tools] == list(AGENT.nodes["slot"].tools)
    assert [m.role for m in ask.messages] == ["system", "assistant", "user"]
    assert ask.model == "sim-large"
    assert "not be used. Because." in decision(AGENT, AT_SLOT, 7, "Because.").messages[-1].text


def test_the_response_sees_only_what_the_answer_needs() -> None:
    state = CallState("booked", AT_SLOT.lines, {**AGENT.blanks(), "day": "Friday", "time": "morning"})
    ask = response(AGENT, state, seed=7)
    assert (ask.tools, ask.model) == ((), "sim-small")
    assert [m.role for m in ask.messages] == ["system", "user"]
    assert "Friday" in ask.messages[0].text
    assert static(AGENT, state) == ""
    assert "AI assistant from Northside Dental" in static(AGENT, CallState.begin(AGENT))


def test_a_conversation_has_a_limit() -> None:
    state = CallState.begin(AGENT)
    for _ in range(LINES_MAX + 5):
        state = state.heard("Hello?")
    assert len(state.lines) == LINES_MAX


def test_a_tool_call_is_put_together_from_pieces_and_the_first_counts() -> None:
    picking = Picking()
    for part in (ToolPart(0, "boo", ""), ToolPart(0, "k", '{"a"'), ToolPart(1, "other", "{}"), ToolPart(0, "", ":1}")):
        picking.take(part)
    assert picking.choice() == Choice("book", '{"a":1}')


def test_a_tool_call_has_a_limit() -> None:
    picking = Picking()
    for _ in range(3):
        picking.take(ToolPart(0, "slot_chosen", '{"day": "' + "x" * ARGUMENTS_CHARS_MAX))
    choice = picking.choice()
    assert len(choice.arguments) == ARGUMENTS_CHARS_MAX
    assert isinstance(step(AGENT, AT_SLOT, choice), Unusable)


def test_sentences_come_as_soon_as_they_are_whole_and_long_enough() -> None:
    cut = Sentences()
    assert cut.take("Great. I have noted") == []
    assert cut.take(" that. And") == ["Great. I have noted that."]
    assert cut.take(" now?") == []
    assert cut.rest() == ["And now?"]


@given(st.lists(st.text(alphabet="ab .!?", max_size=12), max_size=30))
def test_no_text_is_lost_between_sentences(pieces: list[str]) -> None:
    cut = Sentences()
    whole = [sentence for piece in pieces for sentence in cut.take(piece)]
    joined = "".join(whole + cut.rest())
    assert joined.replace(" ", "") == "".join(pieces).replace(" ", "")


def test_an_answer_has_a_limit() -> None:
    cut = Sentences()
    said = cut.take("word " * ANSWER_CHARS_MAX) + cut.take("more ") + cut.rest()
    assert sum(map(len, said)) <= ANSWER_CHARS_MAX
