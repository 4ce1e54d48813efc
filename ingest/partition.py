"""THE CORE: what one partition of the log does to the tables, as data. Opens no connection, reads no clock.

Records go in, effects come out of generators; whoever drives them performs each effect and sends its answer
back, in order. The rules that make a redelivered, reordered or replayed log count once are all here:

- Every delivery is written as a raw row, and of one identity the **first** delivery survives (`first_of`).
- Rollups are folded per epoch, a fixed run of offsets. A row of an epoch carries the last offset it has
  folded as its version, so a later flush supersedes an earlier one and a zombie's late write loses.
- A flush never crosses an epoch's edge. Its order is raw rows, rollup rows, commit.
- A partition that is taken up anew folds again, from raw rows, the epoch of the last row stored before its
  offset. That is the open epoch, or one that a dead worker left between its raw rows and its rollups.
- A stream that memory does not hold is looked up in the raw rows *as of the epoch's start*: later rows may be
  a zombie's, and this epoch has not counted them yet. Streams are forgotten at an epoch's edge only, since a
  lookup as of the start would miss what this epoch itself has counted.
- The log's id is part of every rollup key, and its generation the high bits of every position, so a wiped
  broker that counts from 0 again neither overwrites history nor counts a repeated event twice.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ingest.effects import (
    Bury,
    Commit,
    Dead,
    Effects,
    FindLast,
    Identity,
    Item,
    Last,
    Lookup,
    Measure,
    Restore,
    RollupKey,
    RollupRow,
    Skipped,
    StreamKey,
    Write,
    WriteRollups,
)
from ingest.position import first_of, offset_of, position_of
from ingest.seen import Seen, StreamState

EPOCH_RECORDS = 65_536
FLUSH_RECORDS_MAX = 20_000
FLUSH_BYTES_MAX = 8 * 2**20
FLUSH_AFTER_S = 0.5
IDLE_MS = 3_600_000
STREAMS_MAX = 50_000  # kept over an epoch's edge; an epoch itself adds at most one per record


class OffsetsBroken(Exception):
    """The records lie behind what was taken: the log was replaced or rewound. Flush without committing, read the log's
    id and take the partition up anew.
    """


@dataclass(frozen=True, slots=True)
class Limits:
    """Constants of a partition. `epoch_records` may never change for a log that has rows."""

    epoch_records: int = EPOCH_RECORDS
    flush_records_max: int = FLUSH_RECORDS_MAX
    flush_bytes_max: int = FLUSH_BYTES_MAX
    flush_after_s: float = FLUSH_AFTER_S
    streams_max: int = STREAMS_MAX
    idle_ms: int = IDLE_MS


class Partition:
    """One partition from offset `at` on. Call `start` once, then `feed`; `flush` when it is `due`, and at the end."""

    def __init__(self, log: str, generation: int, number: int, at: int, limits: Limits | None = None) -> None:
        self.log, self.generation, self.number = log, generation, number
        self.limits = limits or Limits()
        self._next = at
        self._epoch = at // self.limits.epoch_records
        self._fold: dict[RollupKey, Counter[int]] = {}
        self._changed: set[RollupKey] = set()
        self._streams: dict[StreamKey, StreamState] = {}
        self._latest_ms = 0
        self._forget_buffer()

    @property
    def next_offset(self) -> int:
        """The offset that is due."""
        return self._next

    @property
    def held_bytes(self) -> int:
        """Bytes of the records that were taken in and are not committed."""
        return self._bytes

    @property
    def streams(self) -> int:
        """Streams held in memory."""
        return len(self._streams)

    # ── life ──

    def start(self) -> Effects:
        """Fold again what is stored of the last epoch below our offset, and write its rollups once more."""
        last: Last | None = yield FindLast(self._position(self._next))
        if last is None:
            return
        epoch = offset_of(last.position) // self.limits.epoch_records
        begin = last.position - offset_of(last.position) + epoch * self.limits.epoch_records
        items: Sequence[Item] = yield Restore(begin, last.position + 1)
        fold: dict[RollupKey, Counter[int]] = {}
        for item in items:
            _count(fold, item.measures)
        if begin == self._epoch_start():
            self._fold = fold
            yield from self._meet(items)
            for item in items:
                self._known(item)
        yield WriteRollups(self._rows(fold, fold, last.log, epoch, offset_of(last.position)))

    def feed(self, records: Sequence[Item | Dead | Skipped], now_s: float) -> Effects:
        """Take in a fetched batch, flushing as often as the limits and epochs demand.

        Offsets may be missing: a log is compacted, and transactions leave markers in it. Whoever feeds us must know
        that the log is still the one it was. Raises OffsetsBroken, before anything is done, for a batch that goes back.
        """
        if records and records[0].offset < self._next:
            raise OffsetsBroken(f"offset {records[0].offset} where {self._next} was due")
        for run in self._runs(records):
            if self._epoch_of(run[0].offset) != self._epoch:
                yield from self.flush()
                self._turn(self._epoch_of(run[0].offset))
            yield from self._meet([r for r in run if isinstance(r, Item)])
            for record in run:
                self._take(record, now_s)
            if self._records >= self.limits.flush_records_max or self._bytes >= self.limits.flush_bytes_max:
                yield from self.flush()

    def due(self, now_s: float) -> bool:
        """Whether the oldest record has waited long enough."""
        return self._records > 0 and now_s - self._since_s >= self.limits.flush_after_s

    def flush(self) -> Effects:
        """Raw rows, rollup rows, commit."""
        if self._records == 0:
            return
        refused: dict[int, Dead] = {}
        unwritten = self._items  # none of what was skipped, and then nothing but the commit is left to do
        while unwritten:
            firsts = tuple(self.first_of(self._position(i.offset)) for i in unwritten)
            repeated = frozenset(i.offset for i in unwritten if i.offset in self._repeated)
            answer: dict[int, Dead] = (yield Write(tuple(unwritten), firsts, repeated)) or {}
            refused |= answer
            unwritten = self._revised([i for i in unwritten if i.offset in answer], refused)
        if self._dead or refused:
            yield Bury((*self._dead, *refused.values()))
        if self._changed:
            yield WriteRollups(self._rows(self._fold, self._changed, self.log, self._epoch, self._next - 1))
        yield Commit(self._next)
        self._changed.clear()
        self._forget_buffer()

    # ── rules ──

    @staticmethod
    def first_of(position: int) -> int:
        return first_of(position)

    def _position(self, offset: int) -> int:
        return position_of(self.generation, offset)

    def _epoch_of(self, offset: int) -> int:
        return offset // self.limits.epoch_records

    def _epoch_start(self) -> int:
        return self._position(self._epoch * self.limits.epoch_records)

    def _runs(self, records: Sequence[Item | Dead | Skipped]) -> Iterator[Sequence[Item | Dead | Skipped]]:
        """Cut a batch at every epoch's edge and wherever a flush would grow past its limit."""
        begin = 0
        while begin < len(records):
            edge = (self._epoch_of(records[begin].offset) + 1) * self.limits.epoch_records
            # A full buffer is emptied after each run, so there is always room for one more here.
            room = self.limits.flush_records_max - self._records % self.limits.flush_records_max
            stop, size = begin, self._bytes
            while stop < len(records) and records[stop].offset < edge and stop - begin < room:
                size += records[stop].size
                stop += 1
                if size >= self.limits.flush_bytes_max:
                    break
            yield records[begin:stop]
            begin = stop

    def _missing(self, items: Iterable[Item]) -> frozenset[StreamKey]:
        return frozenset(key for item in items if (key := item.stream_key) not in self._streams)

    def _meet(self, items: Sequence[Item]) -> Effects:
        """Learn what is stored, as of the epoch's start, of the streams that memory does not hold."""
        missing = self._missing(items)
        if not missing:
            return
        identities: Iterable[Identity] = yield Lookup(missing, self._lookup_bound())
        for key in missing:
            self._streams[key] = StreamState()
        for tenant, day, name, source, seq in identities:
            self._streams[tenant, day, name].sources.setdefault(source, self._new_seen()).add(seq)

    def _lookup_bound(self) -> int:
        return self._epoch_start()

    def _new_seen(self) -> Seen:
        return Seen()

    def _known(self, item: Item) -> bool:
        """Mark the item's identity as counted; False when it was."""
        stream = self._streams[item.stream_key]
        stream.arrived_ms = max(stream.arrived_ms, item.arrived_ms)
        if item.closes:
            stream.ends[item.source] = item.seq
        seen = stream.sources.get(item.source)
        if seen is None:
            seen = stream.sources[item.source] = self._new_seen()
        return seen.add(item.seq)

    def _take(self, record: Item | Dead | Skipped, now_s: float) -> None:
        if self._records == 0:
            self._since_s = now_s
        self._records += 1
        self._bytes += record.size
        self._next = record.offset + 1
        if isinstance(record, Skipped):
            return
        if isinstance(record, Dead):
            self._dead.append(record)
            return
        self._items.append(record)
        self._latest_ms = max(self._latest_ms, record.arrived_ms)
        if not self._known(record):
            self._repeated.add(record.offset)
        else:
            self._count(record)

    def _revised(self, lost: Sequence[Item], refused: Container[int]) -> list[Item]:
        """Take back what the store refused: it is in no raw row, so it may be in no rollup. Of each identity the next
        delivery that was taken for a repeat is the first one now; those are returned, to be written as such.
        """
        vacant = set()
        for item in lost:
            if item.offset not in self._repeated:
                self._forget(item)
                vacant.add(item.identity)
        heirs = []
        for item in self._items:
            if item.identity in vacant and item.offset in self._repeated and item.offset not in refused:
                vacant.remove(item.identity)
                self._repeated.remove(item.offset)
                self._known(item)
                self._count(item)
                heirs.append(item)
        return heirs

    def _forget(self, item: Item) -> None:
        stream = self._streams[item.stream_key]
        stream.sources[item.source].remove(item.seq)
        if item.closes:
            stream.ends.pop(item.source, None)
        for key, bucket in item.measures:
            self._fold[key][bucket] -= 1

    def _count(self, item: Item) -> None:
        if item.measures:
            _count(self._fold, item.measures)
            self._changed.update(key for key, _ in item.measures)

    def _turn(self, epoch: int) -> None:
        """Begin another epoch and forget the streams that are closed, long idle or too many."""
        self._epoch = epoch
        self._fold = {}
        idle_ms = self._latest_ms - self.limits.idle_ms
        kept = [(k, s) for k, s in self._streams.items() if not s.closed() and s.arrived_ms >= idle_ms]
        kept.sort(key=lambda pair: pair[1].arrived_ms)
        self._streams = dict(kept[-self.limits.streams_max :])

    def _rows(
        self, fold: dict[RollupKey, Counter[int]], keys: Iterable[RollupKey], log: str, epoch: int, version: int
    ) -> tuple[RollupRow, ...]:
        return tuple(
            RollupRow(key, log, self.number, epoch, version, {b: n for b, n in fold[key].items() if n}) for key in keys
        )

    def _forget_buffer(self) -> None:
        self._items: list[Item] = []
        self._dead: list[Dead] = []
        self._repeated: set[int] = set()
        self._records = 0
        self._bytes = 0
        self._since_s = 0.0


def _count(fold: dict[RollupKey, Counter[int]], measures: Iterable[Measure]) -> None:
    for key, bucket in measures:
        counts = fold.get(key)
        if counts is None:
            counts = fold[key] = Counter()
        counts[bucket] += 1
