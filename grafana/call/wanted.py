"""Which calls are wanted, and in what order: filters and sorts as data. Asks no store."""

import re
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

from runtime.events import Outcome

_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 7 * 86_400_000_000}
_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")


class Sort(StrEnum):
    """The worst first is a total order, the same in every tool; `grafana.call.lines` is its home."""

    WORST = "worst"
    NEWEST = "newest"
    LONGEST = "longest"
    SLOWEST = "slowest"


class Filters(Struct, frozen=True, kw_only=True):
    """All must hold. `component`, `provider` and `model` ask for a breach by a span of theirs, `breach` for one of
    the objective that is named so.

    `incomplete`: a source of the call has not closed, or not all that it said has arrived.
    """

    campaign: str = ""
    agent: str = ""
    disposition: str = ""
    outcome: Outcome | None = None
    since_us: int = 0
    breach: str = ""
    component: str = ""
    provider: str = ""
    model: str = ""
    incomplete: bool = False
    latency_us_min: int = 0


def since(text: str, now_us: int) -> int:
    """The moment that `2h`, `3d` (ago) or an ISO date or time (UTC unless it says otherwise) means, in µs since 1970.

    Raises ValueError.
    """
    if ago := _AGO.fullmatch(text.strip().lower()):
        return max(0, now_us - int(ago[1]) * _UNITS_US[ago[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 90m, 2h, 3d, 2026-11-24 or 2026-11-24T08:30") from None
    return max(0, round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000))
