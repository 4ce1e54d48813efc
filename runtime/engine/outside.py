"""The port to the world that tools act on: calendars, customer records. Data and a Protocol, no work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runtime.voice.ports import Key


@dataclass(frozen=True, slots=True)
class Told:
    """What an outside tool answered, and when; `values` overwrite arguments of the same name."""

    at_us: int
    values: Mapping[str, str] = field(default_factory=dict)


class Outside(Protocol):
    async def ask(self, name: str, values: Mapping[str, str], at_us: int, key: Key) -> Told:
        """Ask the tool `name` at `at_us`. Raises ProviderFailed."""
