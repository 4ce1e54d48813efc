"""The allow-list: which attributes of foreign spans are facts, which hold words, and that the rest is dropped.

A fact is a figure, a flag or a bounded name, by its type: a text where a figure is due is dropped. Words (what people
said, prompts, arguments, messages of errors, names of rooms and callers, telephone numbers) become content or nothing.
"""

import re
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

from ingest.door.limits import ATTRIBUTES_PER_SPAN_MAX, WORDS_CHARS_MAX
from ingest.door.span import Fact
from runtime.events import looks_like_phone


class Kind(Enum):
    NUMBER = auto()
    FLAG = auto()
    NAME = auto()


_NUMBERS = (
    *("turn.number", "turn.user_bot_latency_seconds", "metrics.ttfb"),
    *("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.response.time_to_first_chunk"),
    *("lk.transcription_delay", "lk.end_of_turn_delay", "lk.on_user_turn_completed_delay", "lk.e2e_latency"),
    *("lk.response.ttft", "lk.response.ttfb"),
)
_FLAGS = (
    *("turn.was_interrupted", "turn.ended_by_conversation_end", "tts.interrupted"),
    *("lk.interrupted", "lk.function_tool.is_error"),
)
_NAMES = (
    *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model", "gen_ai.tool.name"),
    *("lk.function_tool.name", "lk.close_reason", "lk.eou.outcome"),
    *("turnlog.campaign", "turnlog.direction", "turnlog.lead"),
)
FACTS = dict.fromkeys(_NUMBERS, Kind.NUMBER) | dict.fromkeys(_FLAGS, Kind.FLAG) | dict.fromkeys(_NAMES, Kind.NAME)
ABOUT = frozenset(
    {"service.name", "service.version", "deployment.environment", "deployment.environment.name"}
    | {"turnlog.campaign", "turnlog.direction"}
)
MARKS = frozenset({"preemptive_generation_discarded"})
# What is kept of names of spans; other names may hold anything.
SPAN_NAMES = frozenset(
    {"conversation", "turn", "stt", "llm", "tts", "llm_tool_call", "llm_tool_result", "llm_response"}
    | {"agent_session", "session_close", "user_turn", "agent_turn", "user_speaking", "agent_speaking", "eou_wait"}
    | {"llm_node", "llm_request", "tts_node", "function_tool"}
)
# What the dialects are known to write words into. LiveKit's are here without the segment `pii`, as they were before.
WORDS = frozenset(
    {"transcript", "input", "output", "text", "text_output", "tools", "tools.definitions", "user_id", "conversation.id"}
    | {"function_calls", "function_calls.first_name", "function_calls.all_names", "tool.arguments", "tool.result"}
    | {"gen_ai.conversation.id", "gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages"}
    | {"gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "gen_ai.prompt", "gen_ai.completion"}
    | {"lk.user_input", "lk.instructions", "lk.chat_ctx", "lk.response.text", "lk.response.function_calls"}
    | {"lk.function_tool.arguments", "lk.function_tool.output", "lk.input_text", "lk.user_transcript"}
    | {"lk.room_name", "lk.participant_identity", "lk.sip.phoneNumber", "sip.phoneNumber"}
    | {"exception.message", "exception.stacktrace", "status.message"}
)
_WORDS_BEGIN = ("gen_ai.prompt.", "gen_ai.completion.", "sip.", "lk.sip.")
TEXTS = frozenset({"output", "text_output", "lk.response.text", "lk.pii.response.text"})
CALLS = frozenset({"function_calls", "lk.response.function_calls", "lk.pii.response.function_calls"})
ERRORS = frozenset({"exception.message", "exception.stacktrace", "status.message"})
_NAME = re.compile(r"[A-Za-z0-9._:/@+\-]{1,128}")

Value = Fact | None  # None: an array or a map, of which no fact is one


def is_words(attribute: str) -> bool:
    """True of an attribute that may hold words and is known to us."""
    return attribute in WORDS or attribute.startswith(_WORDS_BEGIN) or "pii" in attribute.split(".")


def bounded(text: str) -> str:
    """The text if it can be a name of configuration, else nothing: no blanks, no telephone's shape."""
    return text if _NAME.fullmatch(text) and not looks_like_phone(text) else ""


class Sorted:
    """The attributes of one span, sorted. `dropped` counts those that are neither fact nor wanted words."""

    __slots__ = ("called", "content", "dropped", "facts", "said", "words")

    def __init__(self, content: bool) -> None:
        self.content = content
        self.facts: dict[str, Fact] = {}
        self.words: list[tuple[str, str]] = []
        self.said = self.called = False
        self.dropped = 0

    def take(self, attributes: Iterable[tuple[str, Value, Any]]) -> None:
        """(name, scalar, and what makes a text of the value when it is asked for)."""
        for number, (name, value, text) in enumerate(attributes):
            if number >= ATTRIBUTES_PER_SPAN_MAX:
                self.dropped += 1
            elif name in FACTS:
                self._fact(name, value)
            elif is_words(name):
                self.say(name, text() if callable(text) else text)
            else:
                self.dropped += 1

    def say(self, name: str, text: str) -> None:
        """Words: kept when they are wanted, and noticed in any case."""
        if not text:
            return
        self.said |= name in TEXTS
        self.called |= name in CALLS and text != "[]"
        if self.content:
            self.words.append((bounded(name), text[:WORDS_CHARS_MAX]))
        else:
            self.dropped += 1

    def _fact(self, name: str, value: Value) -> None:
        match FACTS[name], value:
            case (Kind.FLAG, bool()):
                self.facts[name] = value
            case (Kind.NUMBER, int() | float()) if not isinstance(value, bool):
                self.facts[name] = value
            case (Kind.NAME, str()) if bounded(value):
                self.facts[name] = value
            case _:
                self.dropped += 1
