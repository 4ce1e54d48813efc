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


# The first whose pattern fits.
TARGETS = (
    ratio_at_least("consume.worker", 0.85),
    ratio_at_least("consume.against_take", 15),
    ratio_at_least("ingest.cpu", 0.8),
    at_most("ingest.memory", 1_000, "MB"),
    at_most("emit.*.median", 20, "µs"),
    at_most("boards.1h.*", 100, "ms"),
    at_most("boards.24h.*", 500, "ms"),
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
