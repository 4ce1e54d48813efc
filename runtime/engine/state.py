"""Where a call stands: frozen data. Decides nothing."""

from dataclasses import dataclass, field, replace
from typing import Literal

from runtime.graph import Agent, Node

LINES_MAX = 60  # of the conversation that a prompt sees


@dataclass(frozen=True, slots=True)
class Line:
    speaker: Literal["caller", "agent"]
    text: str


@dataclass(frozen=True, slots=True)
class CallState:
    """The node whose question the caller answers next, what was said, and what tools have collected."""

    node: str
    lines: tuple[Line, ...] = ()
    data: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def begin(agent: Agent) -> "CallState":
        return CallState(agent.start, (), agent.blanks())

    def of(self, agent: Agent) -> Node:
        return agent.nodes[self.node]

    def heard(self, text: str) -> "CallState":
        return replace(self, lines=(*self.lines, Line("caller", text))[-LINES_MAX:])

    def said(self, text: str) -> "CallState":
        return replace(self, lines=(*self.lines, Line("agent", text))[-LINES_MAX:]) if text else self

    @property
    def last_heard(self) -> str:
        return next((line.text for line in reversed(self.lines) if line.speaker == "caller"), "")
