"""What a span is called outside turnlog: the names of OpenTelemetry's conventions for generative AI. Starts no span.

The conventions are in development and have moved between packages, so the few names that we say are written here.
Content (what people and models said) is JSON in the conventions' shape of messages, and only made when asked for.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from runtime.events import Component

AGENT = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
CONVERSATION = "gen_ai.conversation.id"
ERROR = "error.type"
MODEL = "gen_ai.request.model"
OPERATION = "gen_ai.operation.name"
OUTPUT_TYPE = "gen_ai.output.type"
PROVIDER = "gen_ai.provider.name"
SEED = "gen_ai.request.seed"
STREAM = "gen_ai.request.stream"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"  # seconds
TOOL = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"

# Content. Absent unless the process was told to send it.
INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"
INSTRUCTIONS = "gen_ai.system_instructions"
ARGUMENTS = "gen_ai.tool.call.arguments"
RESULT = "gen_ai.tool.call.result"

CONTENT_CHARS_MAX = 16_384  # of the texts in one attribute; the oldest messages go first

Kind = Literal["client", "internal"]
Attributes = Mapping[str, str | int | float | bool]

_OPERATIONS = {
    Component.ASR: ("generate_content", "text"),
    Component.DECISION: ("chat", ""),
    Component.RESPONSE: ("chat", "text"),
    Component.TTS: ("generate_content", "speech"),
}


@dataclass(frozen=True, slots=True)
class Named:
    """A span as others know it."""

    name: str
    kind: Kind = "internal"
    attributes: Attributes = field(default_factory=dict)


def component(name: str, provider: str, model: str, tool: str) -> Named:
    """A part of a turn: a request to a provider, a tool that runs, or a piece of ours, which keeps its own name."""
    if tool:
        return Named(f"execute_tool {tool}", "internal", {OPERATION: "execute_tool", TOOL: tool, TOOL_TYPE: "function"})
    if not provider:
        return Named(name)
    asked: dict[str, str | int | float | bool] = {PROVIDER: provider, MODEL: model}
    known = next((found for part, found in _OPERATIONS.items() if part == name), None)
    if known is None:
        return Named(name, "client", asked)
    operation, output_type = known
    asked[OPERATION], asked[STREAM] = operation, True
    if output_type:
        asked[OUTPUT_TYPE] = output_type
    return Named(f"{operation} {model}", "client", asked)


def invocation(agent: str, version: str) -> Named:
    """The call itself: an agent, invoked."""
    return Named(f"invoke_agent {agent}", "internal", {OPERATION: "invoke_agent", AGENT: agent, AGENT_VERSION: version})


def instructions(texts: Iterable[str]) -> str:
    """What the model was told before the conversation."""
    return _json([{"type": "text", "content": text[:CONTENT_CHARS_MAX]} for text in texts])


def messages(said: Sequence[tuple[str, str]]) -> str:
    """(role, text) pairs, the newest that fit."""
    kept: list[dict[str, Any]] = []
    left = CONTENT_CHARS_MAX
    for role, text in reversed(said):
        if left <= 0:
            break
        kept.append({"role": role, "parts": [{"type": "text", "content": text[:left]}]})
        left -= len(text)
    return _json(kept[::-1])


def answer(text: str) -> str:
    """What a model or a voice gave back."""
    return _json([{"role": "assistant", "parts": [{"type": "text", "content": text[:CONTENT_CHARS_MAX]}]}])


def tool_call(tool: str, arguments: str) -> str:
    """The tool that a model picked, with its arguments as the model wrote them."""
    part = {"type": "tool_call", "name": tool, "arguments": arguments[:CONTENT_CHARS_MAX]}
    return _json([{"role": "assistant", "parts": [part]}])


def values(of: Mapping[str, Any]) -> str:
    """The arguments or the result of a tool."""
    return _json({name: str(value)[:CONTENT_CHARS_MAX] for name, value in of.items()})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
