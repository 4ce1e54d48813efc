"""OpenAI's wire format, both ways: a request checked, an answer spelled. No socket, no chance.

Every chunk says when it is sent: `turnlog_at_us`, µs from the request's start; see `runtime.models.client`.
"""

import json
from dataclasses import dataclass
from typing import Any

MESSAGES_MAX = 200
TOOLS_MAX = 64


class BadRequest(ValueError):
    """What the client did wrong, in words fit for OpenAI's error body."""


@dataclass(frozen=True, slots=True)
class Asked:
    model: str
    system: str
    last_words: str
    tools: list[dict[str, Any]]
    stream: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Part:
    """One chunk of an answer and when it is sent."""

    at_us: int
    delta: dict[str, Any]
    finish: str | None = None


def read(body: bytes) -> Asked:
    """The request. Raises BadRequest."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("model"), str):
        raise BadRequest("`model` must be a string")
    messages, tools, seed = asked.get("messages"), asked.get("tools") or [], asked.get("seed") or 0
    if not isinstance(messages, list) or not 0 < len(messages) <= MESSAGES_MAX:
        raise BadRequest(f"`messages` must be a list of 1 to {MESSAGES_MAX}")
    if not isinstance(tools, list) or len(tools) > TOOLS_MAX or not all(_is_tool(tool) for tool in tools):
        raise BadRequest(f"`tools` must be a list of at most {TOOLS_MAX} functions")
    if not isinstance(seed, int):
        raise BadRequest("`seed` must be an integer")
    said = [(str(m.get("role")), _text(m.get("content"))) for m in messages if isinstance(m, dict)]
    system = "\n".join(text for role, text in said if role == "system")
    last_words = next((text for role, text in reversed(said) if role == "user"), "")
    tools = [] if asked.get("tool_choice") == "none" else tools
    return Asked(asked["model"], system, last_words, tools, bool(asked.get("stream")), seed)


def _is_tool(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def tool_deltas(name: str, arguments: str, call_id: str) -> list[dict[str, Any]]:
    """A tool call in the pieces in which OpenAI streams it: the name first, then the arguments."""
    first = {"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [first]},
        {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]},
    ]


def text_deltas(pieces: list[str]) -> list[dict[str, Any]]:
    return [({"role": "assistant"} if i == 0 else {}) | {"content": piece} for i, piece in enumerate(pieces)]


def chunk(part: Part, model: str, answer_id: str) -> bytes:
    """One server-sent event."""
    body = {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "delta": part.delta, "finish_reason": part.finish}],
        "turnlog_at_us": part.at_us,
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def whole(parts: list[Part], model: str, answer_id: str) -> dict[str, Any]:
    """The same answer, not streamed."""
    calls = [call for part in parts for call in part.delta.get("tool_calls", ())]
    message: dict[str, Any] = {"role": "assistant", "content": None}
    if calls:
        function = {
            "name": calls[0]["function"]["name"],
            "arguments": "".join(call["function"]["arguments"] for call in calls),
        }
        message["tool_calls"] = [{"id": calls[0]["id"], "type": "function", "function": function}]
    else:
        message["content"] = "".join(part.delta.get("content", "") for part in parts)
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": parts[-1].finish}],
        "usage": {"prompt_tokens": 0, "completion_tokens": len(parts), "total_tokens": len(parts)},
        "turnlog_at_us": parts[-1].at_us,
    }


def error(message: str, kind: str) -> dict[str, Any]:
    """OpenAI's error body."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
