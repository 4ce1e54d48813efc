"""The response half of a node: what is asked, and where a streamed answer can be cut for the voice. Calls no model."""

import re

from runtime.engine.state import CallState
from runtime.graph import Agent
from runtime.models import Ask, Message
from runtime.prompts import fill

SENTENCE_CHARS_MIN = 20  # a shorter one plays for less than the next one takes to arrive: "Great." waits for it
ANSWER_CHARS_MAX = 4_000
_END = re.compile(r"[.!?]+[\"')\]]*(?=\s)")


def static(agent: Agent, state: CallState) -> str:
    """The node's own words; empty when it has a response prompt instead."""
    return fill(state.of(agent).say, {"facts": agent.facts, "data": state.data})


def response(agent: Agent, state: CallState, seed: int) -> Ask:
    """Sees only what the answer needs: the prompt, with known facts put in, and the caller's last words."""
    node = state.of(agent)
    messages = (
        Message("system", fill(node.response, {"facts": agent.facts, "data": state.data})),
        Message("user", state.last_heard or "(the call has just begun)"),
    )
    return Ask(node.response_model or agent.models.response, messages, (), seed)


class Sentences:
    """Cuts a stream of text into whole sentences as early as possible."""

    def __init__(self) -> None:
        self._rest = ""
        self._left = ANSWER_CHARS_MAX

    def take(self, text: str) -> list[str]:
        """More text; the sentences that are whole now. Past ANSWER_CHARS_MAX the text is dropped."""
        text = text[: self._left]
        self._left -= len(text)
        self._rest += text
        whole = []
        begin = 0
        for end in _END.finditer(self._rest):
            if end.end() - begin >= SENTENCE_CHARS_MIN:
                whole.append(self._rest[begin : end.end()].strip())
                begin = end.end()
        self._rest = self._rest[begin:]
        return whole

    def rest(self) -> list[str]:
        """What is left at the end of the text, whole or not."""
        rest, self._rest = self._rest.strip(), ""
        return [rest] if rest else []
