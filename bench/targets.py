"""What the figures are held to, and why those that miss it do. Measures nothing."""

from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec

from bench.figures import Figure


class Target(msgspec.Struct, frozen=True):
    """`names` is a pattern of the names of figures. `why` is said where a figure misses the target."""

    names: str
    words: str
    holds: Callable[[Figure], bool]
    why: str = ""


def at_most(names: str, limit: float, unit: str, why: str = "") -> Target:
    return Target(names, f"at most {limit:g} {unit}", lambda f: f.figure <= limit, why)


def ratio_at_least(names: str, limit: float, why: str = "") -> Target:
    return Target(names, f"ratio of at least {limit:g}", lambda f: f.ratio >= limit, why)


_CONSUME = (
    "The worker's way also starts Faust, which is in the figure, fetches in a thread of its own, sizes each record "
    "for the waiting room, looks whose its time is and hands offsets back. Fetching and decoding, which are the "
    "bare loop, are the rest. With two threads on two cores the ratio of a run differs by a tenth and more from "
    "that of the next."
)
_INGEST = (
    "Measured piece by piece, by flushes of 20,000 events, where an event cost 103 µs in all: of the worker's 54, "
    "decoding 2.3, places, judgement and measures of rollups 7.5, the core's books of what was seen 7, building "
    "columns 10, metrics of fresh events 4, and the rest fetching and the client of the store; the yardstick has "
    "fetching and decoding alone. Of the store's 45, beyond inserting: deriving calls anew from their events 6, and "
    "some 14 ms for each of about ten statements of a flush, however small. Python's books of single events are "
    "the limit: to reach the target the core would have to work on columns."
)
_BOARDS = (
    "A row of the rollup is what one epoch of one partition adds to one minute of one campaign and component. "
    "With 200 campaigns over 12 partitions that is a handful of spans, so a view that adds such rows up by key, "
    "and then by what was asked, does more than a scan of the spans: without the first of the two a day of "
    "500,000 spans took a fifth of the time. Rows of old days are merged, those of yesterday are not yet."
)

# The first whose pattern fits.
TARGETS = (
    ratio_at_least("consume.worker", 0.85, _CONSUME),
    ratio_at_least("consume.against_take", 15),
    ratio_at_least("ingest.cpu", 0.8, _INGEST),
    at_most("ingest.memory", 1_000, "MB"),
    at_most("emit.*.median", 20, "µs"),
    at_most("boards.1h.*", 100, "ms", _BOARDS),
    at_most("boards.24h.*", 500, "ms", _BOARDS),
    at_most("worker_memory.*", 1_000, "MB"),
)


def target_of(figure: Figure) -> Target | None:
    """None where a figure is only reported."""
    return next((t for t in TARGETS if fnmatchcase(figure.name, t.names)), None)


def verdict(figure: Figure) -> str:
    """In words, for a table."""
    target = target_of(figure)
    if target is None:
        return ""
    return "holds" if target.holds(figure) else "does not hold"
