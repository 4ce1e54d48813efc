"""Where a delivery stands among all deliveries of its partition, over every log that its topic has had.

A position is `generation · 2^48 + offset`; `generation` is the ordinal of the broker's log, so that a wiped broker,
which counts from 0 again, comes after all that was stored before.
"""

GENERATIONS_MAX = 2**16
OFFSETS_MAX = 2**48
_U64_MAX = 2**64 - 1


def position_of(generation: int, offset: int) -> int:
    """Raises ValueError beyond 2^16 generations or 2^48 offsets."""
    if not (0 <= generation < GENERATIONS_MAX and 0 <= offset < OFFSETS_MAX):
        raise ValueError(f"generation {generation}, offset {offset}: start a new store for this topic")
    return generation * OFFSETS_MAX + offset


def generation_in(position: int) -> int:
    return position // OFFSETS_MAX


def offset_of(position: int) -> int:
    return position % OFFSETS_MAX


def first_of(position: int) -> int:
    """The version of a raw row: greatest for the earliest delivery, which therefore survives a merge."""
    return _U64_MAX - position
