"""A small world that breaks things: a log, a store that merges at last, and workers that die at any step.

It drives the real `ingest.partition.Partition`; only the log, the store and the group are made up. A history
is one seed. Figures that must hold are recomputed from the distinct events, never from the rollups.
"""

import random
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ingest.effects import Bury, Commit, Dead, Effects, FindLast, Item, Last, Lookup, Restore, Write, WriteRollups
from ingest.partition import Limits, Partition
from ingest.position import generation_in, offset_of, position_of
from runtime.events import Reason

EPOCH = 50
SOURCES = ("runtime", "validator")
Event = tuple[str, str, int, str, bool]  # call, source, seq, key, closes
MARKER: Event = ("", "", -1, "", False)  # an offset that is never delivered


@dataclass(frozen=True)
class Weather:
    """How hostile a history is; all are probabilities per event or per step."""

    repeat: float = 0.0  # a producer's retry: adjacent
    late: float = 0.0  # a spool delivers again, much later
    reorder: float = 0.0  # a spool's replay arrives behind live traffic
    crash: float = 0.03
    poison: float = 0.0
    refuse: float = 0.0  # the store refuses a delivery for ever, not its event: another one may be good
    markers: float = 0.0  # offsets that no record has: compaction, transactions
    retention: bool = False
    wipes: int = 0


@dataclass
class Store:
    """ReplacingMergeTree after all merges: highest version of a key wins, the last insert wins a tie."""

    raw: dict[Any, tuple[int, int, Event]] = field(default_factory=dict)
    rollups: dict[Any, tuple[int, dict[int, int]]] = field(default_factory=dict)
    buried: set[tuple[str, int]] = field(default_factory=set)

    def put_raw(self, first: int, position: int, event: Event) -> None:
        identity = event[:3]
        if identity not in self.raw or first >= self.raw[identity][0]:
            self.raw[identity] = (first, position, event)

    def put_rollup(self, key: Any, version: int, counts: dict[int, int]) -> None:
        if key not in self.rollups or version >= self.rollups[key][0]:
            self.rollups[key] = (version, counts)

    def counted(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for (key, *_), (_, counts) in self.rollups.items():
            total[key[1]] += sum(counts.values())
        return +total

    def distinct(self) -> Counter[str]:
        return Counter(event[3] for _, _, event in self.raw.values())


def produce(r: random.Random, weather: Weather) -> list[Event | None]:
    """Interleaved calls; order holds within a source unless a spool replays. None is a poison record."""
    calls: list[list[Event]] = []
    for c in range(24):
        for source in SOURCES[: r.randint(1, 2)]:
            n = r.randint(4, 24)
            calls.append([(f"call-{c}", source, s, f"key-{r.randint(0, 3)}", s == n - 1) for s in range(n)])
    r.shuffle(calls)
    live: list[list[Event]] = []
    due: list[tuple[int, Event]] = []
    log: list[Event | None] = []
    while calls or live:
        while calls and len(live) < 5:
            live.append(calls.pop())
        queue = r.choice(live)
        n = 2 if len(queue) > 1 and r.random() < weather.reorder else 1
        for event in reversed([queue.pop(0) for _ in range(n)]):
            log.append(event)
            if r.random() < weather.poison:
                log.append(None)
            if r.random() < weather.markers:
                log += [MARKER] * r.randint(1, 3)
            if r.random() < weather.repeat:
                log.append(event)
            if r.random() < weather.late:
                due.append((len(log) + r.randint(5, 200), event))
        for entry in [d for d in due if d[0] <= len(log)]:
            due.remove(entry)
            log.append(entry[1])
        live = [q for q in live if q]
    return log


class World:
    """One history. `partition` is the core under test, or a mutant of it."""

    def __init__(
        self, seed: int, weather: Weather, partition: type[Partition] = Partition, logs_have_ids: bool = True
    ) -> None:
        self.logs_have_ids = logs_have_ids
        self.r = random.Random(seed)
        self.weather = weather
        self.partition = partition
        self.store = Store()
        produced = produce(self.r, weather)
        cuts = sorted(self.r.sample(range(1, len(produced)), weather.wipes))
        edges = zip([0, *cuts], [*cuts, len(produced)], strict=True)
        self.segments = [produced[a:b] for a, b in edges]
        self.refusing = random.Random(f"{seed}/refusing").getrandbits(64)
        self.generation = 0
        self.log = self.segments[0]
        self.lost: set[Any] = set()  # dropped by the broker before anybody had read it
        self.committed = self.log_start = 0
        self.member = 0
        self.workers: list[tuple[int, Iterator[None]]] = []

    def _refuses(self, generation: int, offset: int) -> bool:
        return zlib.crc32(b"%d/%d/%d" % (self.refusing, generation, offset)) < self.weather.refuse * 2**32

    def run(self) -> None:
        """Play every segment to its end; between two of them the broker is wiped, wherever its workers are."""
        for generation in range(len(self.segments)):
            if generation:
                self._wipe(generation)
            self._join()
            stop = None if generation == len(self.segments) - 1 else self.r.randint(1, 200)
            self._play(stop)

    # ── the group ──

    def _join(self) -> None:
        self.member += 1
        self.workers.append((self.member, self._work(self.member)))

    def _play(self, steps: int | None) -> None:
        r = self.r
        while self.workers and (steps is None or steps > 0):
            steps = None if steps is None else steps - 1
            i = len(self.workers) - 1 if r.random() < 0.7 else r.randrange(len(self.workers))
            member, worker = self.workers[i]
            if next(worker, self) is self:
                self.workers.pop(i)
            elif member == self.member and r.random() < self.weather.crash and self.member < 12:
                if r.random() < 0.5:
                    self.workers.pop(i)  # kill -9; otherwise it lives on as a zombie
                self._retain()
                self._join()
            elif member != self.member and r.random() < self.weather.crash:
                self.workers.pop(i)  # a zombie dies at any step, too

    def _retain(self) -> None:
        """Retention drops records, read or not. It takes days: no worker of before is alive after it."""
        if not self.weather.retention or self.r.random() < 0.5:
            return
        self.log_start = max(self.log_start, min(len(self.log), self.committed + self.r.randint(0, 40)))
        self.lost |= {e[:3] for e in self.log[self.committed : self.log_start] if e}
        self.workers.clear()

    def _wipe(self, generation: int) -> None:
        """The broker forgets all. Its workers die where they are or finish the step in hand; the producers go on,
        and deliver once more some of what is stored already.
        """
        for _, worker in self.workers:
            if self.r.random() < 0.5:
                for _ in range(self.r.randint(0, 30)):
                    if next(worker, self) is self:
                        break
        self.workers.clear()
        self.lost |= {e[:3] for segment in self.segments[:generation] for e in segment if e}
        again = [event for _, _, event in self.store.raw.values() if self.r.random() < self.weather.late]
        self.log = list(self.segments[generation])
        for event in again:
            self.log.insert(self.r.randint(0, len(self.log)), event)
        self.segments[generation] = self.log
        self.generation, self.committed, self.log_start = generation, 0, 0

    # ── one worker ──

    def _work(self, member: int) -> Iterator[None]:
        r, log, generation = self.r, self.log, self.generation
        at = max(self.committed, self.log_start)
        limits = Limits(
            epoch_records=EPOCH, flush_records_max=r.randint(3, 20), flush_bytes_max=150, streams_max=8, idle_ms=80
        )
        core = self.partition(self._log_id(generation), self._ordinal(generation), 0, at, limits)
        yield from self._perform(member, generation, core.start())
        now_s = 0.0
        while at < len(log):
            stop = min(at + r.randint(1, 33), len(log))
            batch = [self._record(log, o) for o in range(at, stop) if log[o] is not MARKER]
            at = stop
            now_s += r.choice([0.0, 0.2, 0.6])
            yield from self._perform(member, generation, core.feed(batch, now_s))
            if core.due(now_s) or r.random() < 0.2:
                yield from self._perform(member, generation, core.flush())
        yield from self._perform(member, generation, core.flush())

    def _ordinal(self, generation: int) -> int:
        return generation if self.logs_have_ids else 0

    def _log_id(self, ordinal: int) -> str:
        return f"log-{self._ordinal(ordinal)}"

    def _record(self, log: list[Event | None], offset: int) -> Item | Dead:
        event = log[offset]
        if event is None:
            return Dead(offset, 10, Reason.MALFORMED, "not JSON", b"{")
        call, source, seq, key, closes = event
        return Item(offset, "t", 0, call, source, seq, offset, 10, closes, ((("rollup", key), 1),), event)

    def _perform(self, member: int, generation: int, effects: Effects) -> Iterator[None]:
        answer: Any = None
        while True:
            try:
                effect = effects.send(answer)
            except StopIteration:
                return
            yield
            answer = yield from self._do(member, generation, effect)

    def _do(self, member: int, generation: int, effect: Any) -> Any:
        store = self.store
        match effect:
            case FindLast(before):
                last = max((p for _, p, _ in store.raw.values() if p < before), default=None)
                return None if last is None else Last(self._log_id(generation_in(last)), last)
            case Restore(start, stop):
                return [self._item(p, e) for _, p, e in store.raw.values() if start <= p < stop]
            case Lookup(streams, before):
                calls = {name for _, _, name in streams}
                return [("t", 0, *e[:3]) for _, p, e in store.raw.values() if e[0] in calls and p < before]
            case Bury(letters):
                store.buried |= {(f"log-{generation}", letter.offset) for letter in letters}
            case Write(items, firsts, _):
                refused = {}
                for item, first in zip(items, firsts, strict=True):
                    if self._refuses(generation, item.offset):
                        refused[item.offset] = Dead(item.offset, 10, Reason.REFUSED_BY_STORE, "", b"")
                    else:
                        store.put_raw(first, position_of(self._ordinal(generation), item.offset), item.row)
                    if self.r.random() < 0.1:
                        yield
                return refused
            case WriteRollups(rows):
                for row in rows:
                    store.put_rollup((row.key, row.log, row.epoch), row.version, row.counts)
                    if self.r.random() < 0.2:
                        yield
            case Commit(offset):
                if member == self.member and generation == self.generation:  # the group fences a zombie's commit
                    self.committed = max(self.committed, offset)
        return None

    def _item(self, position: int, event: Event) -> Item:
        call, source, seq, key, closes = event
        return Item(offset_of(position), "t", 0, call, source, seq, 0, 10, closes, ((("rollup", key), 1),), event)

    # ── the truth ──

    def faults(self) -> list[str]:
        """What is wrong at the end of the history; empty when all is well."""
        start, here = self.log_start, self.generation
        final = {
            e[:3] for o, e in enumerate(self.log) if e and o >= start and e is not MARKER and not self._refuses(here, o)
        }
        missing = final - self.lost - set(self.store.raw)
        at = [(generation_in(p), offset_of(p)) for _, p, _ in self.store.raw.values()] if self.logs_have_ids else []
        never = [place for place in at if self._refuses(*place)]
        poison = {(f"log-{self.generation}", o) for o in range(self.log_start, len(self.log)) if self.log[o] is None}
        said = []
        if missing:
            said.append(f"{len(missing)} events were read and are in no table")
        if never:
            said.append(f"{len(never)} refused deliveries are in a table")
        if poison - self.store.buried:
            said.append(f"{len(poison - self.store.buried)} poison records have no dead letter")
        if self.store.counted() != self.store.distinct():
            said.append(f"rollups count {self.store.counted()}, the distinct events are {self.store.distinct()}")
        return said
