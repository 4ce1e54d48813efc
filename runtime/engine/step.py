"""Where the call goes next, from the tool that fired and nothing else. No await, no clock, no client."""

import json
from dataclasses import dataclass, replace

from runtime.engine.state import CallState
from runtime.graph import Agent, Argument, Tool


@dataclass(frozen=True, slots=True)
class Choice:
    """What a decision came to: a tool's name and its arguments as JSON text; an empty name when none was picked."""

    tool: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Fired:
    """Effect: say that a tool fired. `arguments` is JSON text, `calls` the outside tool to ask, if any."""

    node: str
    tool: str
    next_node: str
    arguments: str
    calls: str


@dataclass(frozen=True, slots=True)
class Step:
    """The state after the step, and what is to be done about it. `fired` is none when the fallback was taken."""

    state: CallState
    fired: Fired | None


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a choice cannot be used, in words for the model that made it."""

    why: str


def step(agent: Agent, state: CallState, choice: Choice) -> Step | Unusable:
    """Follow the tool that fired; Unusable when there is none, or it cannot fire here, or its arguments are bad."""
    node = state.of(agent)
    if not choice.tool:
        return Unusable("You picked no tool. Pick exactly one.")
    if choice.tool not in node.tools:
        return Unusable(f"There is no tool {choice.tool[:64]!r} here. Pick one of: {', '.join(node.tools)}.")
    tool = agent.tools[choice.tool]
    read = _arguments(tool, choice.arguments)
    if isinstance(read, Unusable):
        return read
    following = node.tools[choice.tool]
    values = {name: str(value) for name, value in read.items()}
    after = replace(state, node=following, data={**state.data, **values})
    return Step(after, Fired(state.node, choice.tool, following, json.dumps(read, ensure_ascii=False), tool.calls))


def fall_back(agent: Agent, state: CallState) -> Step:
    """What the node declares for when no usable tool was picked."""
    return Step(replace(state, node=state.of(agent).fallback), None)


def _arguments(tool: Tool, text: str) -> dict[str, str | int] | Unusable:
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return Unusable("The arguments are not JSON. Give them as one JSON object.")
    if not isinstance(given, dict):
        return Unusable("The arguments are no JSON object.")
    unknown = sorted(set(given) - set(tool.arguments))
    if unknown:
        return Unusable(f"The tool takes only these arguments: {', '.join(tool.arguments) or 'none'}.")
    for name, about in tool.arguments.items():
        if name not in given:
            if about.required:
                return Unusable(f"The argument {name!r} is missing.")
        elif not _fits(about, given[name]):
            wanted = f"one of {', '.join(about.enum)}" if about.enum else f"of type {about.type}"
            return Unusable(f"The argument {name!r} must be {wanted}.")
    return given


def _fits(about: Argument, value: object) -> bool:
    if about.type == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str) and (not about.enum or value in about.enum)
