"""The decision half of a node: what is asked, and what its answer came to. Calls no model."""

from typing import Any, Literal

from runtime.engine.state import CallState
from runtime.engine.step import Choice
from runtime.graph import Agent, Tool
from runtime.models import Ask, Message, ToolPart
from runtime.prompts import fill

ARGUMENTS_CHARS_MAX = 8_192  # cut, they are no JSON any more, and the model is asked again
NAME_CHARS_MAX = 128
_ROLES: dict[str, Literal["user", "assistant"]] = {"caller": "user", "agent": "assistant"}


def decision(agent: Agent, state: CallState, seed: int, problem: str = "") -> Ask:
    """Sees the tools, the conversation and the instructions. `problem` is what was wrong with the last answer."""
    node = state.of(agent)
    system = fill(node.decision, {"facts": agent.facts, "data": state.data})
    messages = [Message("system", system)]
    messages += [Message(_ROLES[line.speaker], line.text) for line in state.lines]
    if problem:
        messages.append(Message("system", f"Your last answer could not be used. {problem}"))
    tools = tuple(_function(name, agent.tools[name]) for name in node.tools)
    return Ask(node.decision_model or agent.models.decision, tuple(messages), tools, seed)


class Picking:
    """Puts a tool call together from its pieces. The first call counts: a node takes one step."""

    def __init__(self) -> None:
        self._name = ""
        self._arguments = ""

    def take(self, part: ToolPart) -> None:
        if part.index == 0:
            self._name = (self._name + part.name)[:NAME_CHARS_MAX]
            self._arguments = (self._arguments + part.arguments)[:ARGUMENTS_CHARS_MAX]

    def choice(self) -> Choice:
        return Choice(self._name, self._arguments)


def _function(name: str, tool: Tool) -> dict[str, Any]:
    properties = {
        argument: {"type": about.type, "description": about.description}
        | ({"enum": list(about.enum)} if about.enum else {})
        for argument, about in tool.arguments.items()
    }
    required = [argument for argument, about in tool.arguments.items() if about.required]
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": tool.description, "parameters": parameters}}
