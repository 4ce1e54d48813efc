"""What is asked of a model and what comes back, as data; and the port. Opens no connection."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenAI-compatible endpoint; `name` is what spans and metrics call it, a bounded name."""

    name: str
    url: str
    key: str = "none"


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Ask:
    """One completion. `tools` are in OpenAI's shape; when there are some, one of them must be picked."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ToolPart:
    """A piece of a tool call: the name comes with the first piece, arguments are JSON text in pieces."""

    index: int
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Delta:
    """One arrival. The last one of a completion has `finished` set, and its time is the completion's end."""

    at_us: int
    text: str = ""
    tools: tuple[ToolPart, ...] = ()
    finished: bool = False


class Stamps(Protocol):
    """The part of a call's clock that a model needs; see `runtime.voice.clock`."""

    def now_us(self) -> int: ...

    def stamp(self, started_us: int, declared_us: int | None) -> int: ...


class Model(Protocol):
    @property
    def provider(self) -> str: ...

    def complete(self, ask: Ask, clock: Stamps) -> AsyncIterator[Delta]:
        """The completion, streamed. Raises ProviderFailed."""
