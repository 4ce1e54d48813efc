"""The rebuild from beginning to end: fold beside, compare, swap, fold the rest. Prints nothing.

Why a worker may run meanwhile: up to the bound, what its group has committed, everything is stored. Beyond it the
rebuild is to the worker what a second worker of the same partition would be, and the core's rules hold for two: raw
rows collapse, a rollup row with more of its epoch supersedes. So raw tables stay; derived ones change places one by
one; and what the worker wrote into a table that was just put away is folded again, from the bound to an end of the log
that is looked up after the last table changed places.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from ingest.effects import Lookup
from ingest.erased import Erasures
from ingest.partition import Limits
from ingest.query import Client, connect
from ingest.replay.compare import Compared, compare
from ingest.replay.fold import Fold, Performer
from ingest.replay.shadow import Shadow
from ingest.replay.sources import Stretch, copy_logs, logged_records, records_in, stored_records, stretches
from ingest.store.erasing import known_erasures
from ingest.store.migrate import migrate
from ingest.store.performer import Place, Tables
from ingest.stream.forgetting import said_of_erasures
from ingest.stream.intake import Spot
from ingest.stream.tail import Tail
from ingest.tables import RAW
from runtime.emit import Brokers

Told = Callable[[str, int, int], None]  # what is done, records so far, of about so many


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be rebuilt, and where. Without `brokers` everything comes from the raw rows, and no worker may run."""

    clickhouse: str
    group: str
    brokers: Brokers | None = None
    verify: bool = False
    limits: Limits | None = None


class Rebuilt(Struct, frozen=True, kw_only=True):
    """`leftover`: the phase in which an earlier rebuild was found killed. `swapped`: the derived tables are new ones.
    `dead` are records that were not stored, as the worker found too. `tail` were folded again after the swap.
    """

    stretches: tuple[Stretch, ...]
    tables: tuple[Compared, ...]
    records: int
    dead: int
    tail: int
    swapped: bool
    leftover: str = ""

    @property
    def raw_equal(self) -> bool:
        raw = {str(table) for table in RAW.values()}
        return all(t.equal for t in self.tables if t.table in raw)

    @property
    def equal(self) -> bool:
        return all(t.equal for t in self.tables)


def rebuild(wish: Wish, told: Told = lambda *_: None) -> Rebuilt:
    """Raises IngestError. Killed at any point it may be run again; see `Rebuilt.leftover`."""
    with ExitStack() as stack:
        live = stack.enter_context(closing(connect(wish.clickhouse)))
        migrate(live)
        shadow = Shadow(live)
        leftover = shadow.begin()
        beside = stack.enter_context(closing(connect(_at(wish.clickhouse, shadow.database))))
        tail = stack.enter_context(closing(Tail(wish.brokers))) if wish.brokers is not None else None
        copy_logs(live, beside)
        # The bound first and the erasures after it: nobody who was erased before a record came is missed.
        found = stretches(live, wish.brokers, wish.group)
        erasures = _erasures(live, wish.brokers)
        work = _Work(found, erasures, wish.limits, shadow, told)
        work.to_the_bound(live, Tables(beside), tail)
        told("comparing", work.records, work.records)
        tables = compare(live, shadow.live, shadow.name, found)
        again = 0
        if not wish.verify:
            work.to_the_end(Tables(beside), tail)  # so that little is missing between the swap and its end
            shadow.phase("swapping")
            shadow.swap()
            again = work.to_the_end(_Both(Tables(live), Tables(beside)), tail)
        shadow.drop()
        return Rebuilt(
            stretches=tuple(found),
            tables=tuple(tables),
            records=work.records,
            dead=work.dead,
            tail=again,
            swapped=not wish.verify,
            leftover=leftover,
        )


class _Work:
    """The folds of all stretches, and how far they are."""

    def __init__(
        self, found: list[Stretch], erasures: Erasures, limits: Limits | None, shadow: Shadow, told: Told
    ) -> None:
        self._folds = [Fold(stretch, erasures, limits) for stretch in found]
        self._shadow, self._told, self._total = shadow, told, records_in(found)
        self._reached: dict[int, int] = {}
        self.records = 0

    @property
    def dead(self) -> int:
        return sum(fold.dead for fold in self._folds)

    def to_the_bound(self, live: Client, beside: Tables, tail: Tail | None) -> None:
        for fold in self._folds:
            s = fold.stretch
            fold.take(beside, stored_records(live, s.place, s.start, min(s.seam, s.stop)), False, self._advanced)
            if tail is not None and s.open:
                fold.take(beside, logged_records(tail, s.place, s.seam, s.stop), True, self._advanced)

    def to_the_end(self, tables: Performer, tail: Tail | None) -> int:
        """From where the folds are, as far as the log goes now. Returns how many records that were."""
        if tail is None:
            return 0
        before = self.records
        folds = {Spot(f.stretch.place.topic, f.stretch.place.partition): f for f in self._folds if f.stretch.open}
        for spot, batch in tail.read_out({spot: fold.next_offset for spot, fold in folds.items()}):
            folds[spot].take(tables, [[kept.record for kept in batch]], True, self._advanced)
        return self.records - before

    def _advanced(self, records: int) -> None:
        self.records += records
        self._shadow.renew()
        self._told("folding", self.records, self._total)


class _Both:
    """The live tables; a lookup is also answered from the shadow, which may have seen more of the log than they."""

    def __init__(self, live: Tables, beside: Tables) -> None:
        self._live, self._beside = live, beside

    def perform(self, place: Place, effect: Any) -> Any:
        found = self._live.perform(place, effect)
        return [*found, *self._beside.perform(place, effect)] if isinstance(effect, Lookup) else found


def _erasures(live: Client, brokers: Brokers | None) -> Erasures:
    erasures = known_erasures(live)
    if brokers is not None:
        erasures.learn(said_of_erasures(brokers))
    return erasures


def _at(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
