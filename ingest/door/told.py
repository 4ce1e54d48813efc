"""What a map says: an event of ours with its place in the foreign trace. Identities derive from that place alone.

A span that is sent again, to this door or to one that was started anew, thus comes to the same identity, and the
worker knows it for a repeat.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from ingest.door.span import ForeignSpan
from runtime.events import Event, SpanEnded

SOURCE = "door"
CALL = "call"  # the place of what is said of a whole call
_SEQ_MAX = 2**32 - 1
_SPAN_STEP_US = 100  # spans are numbered by their start, in such steps from the call's: 119 hours of them
TURN_MAX = 2**16 - 1


class Told(NamedTuple):
    """`key` names the foreign span and what is said of it; `within` is the key of the span that this one is part of."""

    event: type[Event]
    at: int
    key: str
    payload: dict[str, Any]
    within: str = ""

    @property
    def start_us(self) -> int:
        return self.at - int(self.payload.get("duration_us", 0))


def call_id(trace: str, started_us: int) -> str:
    """The UUIDv7 of a call: the time of its start, then the low bits of the trace id, so that the end of the trace id
    finds the call.
    """
    low = int(trace, 16)
    bits = (started_us // 1000) << 80 | 7 << 76 | ((low >> 62) & 0xFFF) << 64 | 2 << 62 | (low & (2**62 - 1))
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def began_us(call: str) -> int:
    """The start of the call, to the millisecond, out of its id."""
    return int(call[:8] + call[9:13], 16) * 1000


def seq_of(key: str) -> int:
    """32 bits of the key's hash. In a call of 1,000 events two share one with a chance of 1 in 8,600: the worker then
    keeps the first and counts a conflict.
    """
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big")


def numbered(told: Iterable[Told], call: str, given: dict[str, int]) -> dict[str, int]:
    """The number of each span in the log, by key: those that were given before, and new ones by their start.

    A part comes after its whole, as a reader of the log expects.
    """
    zero_us, numbers = began_us(call), dict(given)
    taken = set(numbers.values())
    spans = [t for t in told if t.event is SpanEnded and t.key not in numbers]
    for span in sorted(spans, key=lambda t: (t.start_us, bool(t.within), t.key)):
        number = min(max((span.start_us - zero_us) // _SPAN_STEP_US, 0) + 1, _SEQ_MAX)
        number = max(number, numbers.get(span.within, 0) + 1 if span.within else 0)
        while number in taken:
            number += 1
        taken.add(number)
        numbers[span.key] = number
    return numbers


def span_ended(span: ForeignSpan, turn: int, component: str, **more: Any) -> Told:
    """A foreign span as a component; `more` overrides. Provider and model are what it names itself."""
    payload: dict[str, Any] = {
        "turn": turn,
        "component": component,
        "provider": span.text("gen_ai.provider.name") or span.text("gen_ai.system"),
        "model": span.text("gen_ai.request.model"),
        "duration_us": span.duration_us,
        **more,
    }
    at = payload.pop("at", span.end_us)
    within = payload.pop("within", "")
    what = payload.pop("what", "span")
    return Told(SpanEnded, at, f"{span.span}:{what}", payload, within)
