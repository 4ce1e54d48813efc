"""What the core takes in and what it asks to be done, as data. Does none of it."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from runtime.events import Reason

StreamKey: TypeAlias = tuple[str, int, str]  # tenant, day, stream
Identity: TypeAlias = tuple[str, int, str, str, int]  # tenant, day, stream, source, seq
RollupKey: TypeAlias = tuple[Any, ...]  # rollup table, then its dimensions
Measure: TypeAlias = tuple[RollupKey, int]  # one more in this bucket of this key


class Item(msgspec.Struct, frozen=True, gc=False):
    """One readable record. `row` is whatever the writer needs; the core hands it on unopened."""

    offset: int
    tenant: str
    day: int  # days since 1970-01-01
    stream: str
    source: str
    seq: int
    arrived_ms: int
    size: int  # bytes
    closes: bool  # the source's last event
    measures: tuple[Measure, ...]
    row: Any

    @property
    def stream_key(self) -> StreamKey:
        return (self.tenant, self.day, self.stream)

    @property
    def identity(self) -> Identity:
        return (self.tenant, self.day, self.stream, self.source, self.seq)


class Dead(msgspec.Struct, frozen=True, gc=False):
    """One record that cannot be stored, and why. `detail` names places, never values."""

    offset: int
    size: int
    reason: Reason
    detail: str
    value: bytes


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """One record that was taken in and leaves nothing behind: whom it is about has been forgotten."""

    offset: int
    size: int


class RollupRow(msgspec.Struct, frozen=True, gc=False):
    """The whole fold of one key in one epoch up to offset `version`; a higher version supersedes it."""

    key: RollupKey
    log: str
    partition: int
    epoch: int
    version: int
    counts: dict[int, int]  # bucket → events


# ── effects: what is to be done, in this order ────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class FindLast:
    """Answer: `Last`, the greatest stored position of this partition below `before`, or None."""

    before: int


@dataclass(frozen=True, slots=True)
class Last:
    log: str
    position: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Answer: Items of the collapsed raw rows of this partition with `start ≤ position < stop`."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """Answer: the Identity of every collapsed raw row of these streams with position < `before`."""

    streams: frozenset[StreamKey]
    before: int


@dataclass(frozen=True, slots=True)
class Bury:
    """Dead letters. No answer."""

    letters: tuple[Dead, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Raw rows, each with its `first`. Answer: offset → Dead for items that the store refuses for ever.

    `repeated` are the offsets whose identity was already known. All touched streams want their derived
    facts made anew, repeated or not: the one who wrote them first may have died before deriving.
    """

    items: tuple[Item, ...]
    firsts: tuple[int, ...]
    repeated: frozenset[int]


@dataclass(frozen=True, slots=True)
class WriteRollups:
    rows: tuple[RollupRow, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """The next offset to read. Everything below it is stored."""

    offset: int


# Of several partitions that are driven together, all effects of an earlier kind come before those of a later one.
ORDER: tuple[type, ...] = (FindLast, Restore, Lookup, Write, Bury, WriteRollups, Commit)

Effect: TypeAlias = FindLast | Restore | Lookup | Bury | Write | WriteRollups | Commit
Effects: TypeAlias = Generator[Effect, Any, None]
