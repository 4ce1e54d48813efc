"""A calendar that books whatever it is asked, after a seeded while; keeps nothing."""

from collections.abc import Mapping

from runtime.engine.outside import Told
from runtime.errors import ProviderFailed
from runtime.voice.ports import Key
from runtime.voice.simulated import lognormal_us


class SimulatedCalendar:
    """Knows one tool, `book`. Says when it answers and does not wait."""

    async def ask(self, name: str, values: Mapping[str, str], at_us: int, key: Key) -> Told:  # noqa: ARG002
        if name != "book":
            raise ProviderFailed("calendar", f"it has no tool {name[:64]!r}")
        return Told(at_us + lognormal_us(key.chance("calendar"), 160_000, 0.4, 40_000, 700_000))
