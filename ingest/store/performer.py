"""Performs the core's effects on ClickHouse; decides only what can be retried and which single row is at fault."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from ingest.columns import raw_tables, rollup_tables
from ingest.effects import Dead, FindLast, Identity, Item, Last, Lookup, Restore, StreamKey, Write, WriteRollups
from ingest.errors import RowsRefused
from ingest.position import first_of, generation_in, offset_of, position_of
from ingest.projection import Record, Row, project
from ingest.store.calls import derive_calls
from ingest.store.faults import translated
from ingest.store.logs import generation_of
from ingest.store.writer import Writer
from ingest.tables import RAW, Log
from runtime.events import ProducerBeat, Reason, Topic

# A statement stays far below what ClickHouse parses, and its parameters below what a request may hold.
STREAMS_PER_QUERY_MAX = 500
_EPOCH_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Place:
    """One partition of one log of a topic."""

    topic: str
    log: str
    generation: int
    partition: int

    @property
    def raw(self) -> Log:
        """The table of everything that its topic holds; no two topics share one."""
        return RAW[Topic(self.topic)]


class Tables:
    """The tables behind one client. `perform` may block for seconds: call it off the event loop, one at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._writer = Writer(client)
        self._logs: dict[tuple[str, int], str] = {}

    def generation(self, topic: str, log: str) -> int:
        """The ordinal of a log among those that its topic has had."""
        generation = generation_of(self._client, topic, log)
        self._logs[topic, generation] = log
        return generation

    def perform(self, place: Place, effect: FindLast | Restore | Lookup | Write | WriteRollups) -> Any:
        """Do it and return its answer. StoreUnreachable: nothing is lost, perform it again."""
        return self.perform_all([(place, effect)])[0]

    def perform_all(self, work: Sequence[tuple[Place, Any]]) -> list[Any]:
        """The same for effects of one kind, each of another partition.

        Rows of all of them go in one insert a table: a statement costs the store the same for one row as for thousands.
        """
        if all(isinstance(effect, Write) for _, effect in work):
            return self._write(work)
        if all(isinstance(effect, WriteRollups) for _, effect in work):
            for table, rows in rollup_tables([row for _, effect in work for row in effect.rows]):
                self._writer.insert(table, rows)
            return [None] * len(work)
        return [self._read(place, effect) for place, effect in work]

    def _read(self, place: Place, effect: FindLast | Restore | Lookup) -> Any:
        match effect:
            case FindLast(before):
                return self._find_last(place, before)
            case Restore(start, stop):
                return self._restore(place, start, stop)
            case Lookup(streams, before):
                return self._lookup(place, streams, before)

    def highest_offset(self, place: Place) -> int:
        """The highest stored offset of this log's partition, -1 for none."""
        top = self._rows(
            f"SELECT max(toInt64(offset)) FROM {place.raw}"  # noqa: S608  a name of ours
            " WHERE log = {log:String} AND partition = {partition:UInt16} HAVING count() > 0",
            {"log": place.log, "partition": place.partition},
        )
        return int(top[0][0]) if top else -1

    def stored_payloads(self, place: Place, items: Sequence[Item]) -> dict[Identity, bytes]:
        """The payload that survives, for those of the items that are stored."""
        found: dict[Identity, bytes] = {}
        for start in range(0, len(items), STREAMS_PER_QUERY_MAX):
            part = items[start : start + STREAMS_PER_QUERY_MAX]
            keys = [(i.tenant, _date(i.day), i.stream, i.source, i.seq) for i in part]
            rows = self._rows(
                f"SELECT tenant, day, stream, source, seq, payload FROM {place.raw} FINAL"  # noqa: S608  a name of ours
                " WHERE (tenant, day, stream, source, seq)"
                " IN {keys:Array(Tuple(String, Date, String, String, UInt32))}",
                {"keys": keys},
            )
            found.update({(r[0], (r[1] - _EPOCH_DAY).days, *r[2:5]): r[5].encode() for r in rows})
        return found

    # ── what was stored ──

    def _find_last(self, place: Place, before: int) -> Last | None:
        """Over every log that the topic has had, in one pass."""
        rows = self._rows(
            f"SELECT log, max(offset) FROM {place.raw}"  # noqa: S608  a name of ours
            " WHERE partition = {partition:UInt16} AND log IN (SELECT log FROM logs_log WHERE topic = {topic:String})"
            " AND (log != {log:String} OR offset < {below:UInt64}) GROUP BY log",
            {"topic": place.topic, "log": place.log, "partition": place.partition, "below": offset_of(before)},
        )
        found = [(self.generation(place.topic, log), log, int(offset)) for log, offset in rows]
        earlier = [Last(log, position_of(generation, offset)) for generation, log, offset in found]
        return max((last for last in earlier if last.position < before), key=lambda last: last.position, default=None)

    def _log_of(self, place: Place, generation: int) -> str:
        if (place.topic, generation) not in self._logs:
            for log in self._rows("SELECT DISTINCT log FROM logs_log WHERE topic = {t:String}", {"t": place.topic}):
                self.generation(place.topic, log[0])
        return self._logs[place.topic, generation]

    def _restore(self, place: Place, start: int, stop: int) -> list[Item]:
        within = (
            "log = {log:String} AND partition = {partition:UInt16} AND offset BETWEEN {start:UInt64} AND {last:UInt64}"
        )
        rows = self._rows(
            f"SELECT offset, toUnixTimestamp64Milli(arrived), payload FROM {place.raw} FINAL WHERE {within}"  # noqa: S608
            # The days are known before anything is collapsed, so FINAL touches their partitions alone.
            f" AND day IN (SELECT DISTINCT day FROM {place.raw} WHERE {within}) ORDER BY offset",
            {
                "log": self._log_of(place, generation_in(start)),
                "partition": place.partition,
                "start": offset_of(start),
                "last": offset_of(stop - 1),
            },
        )
        records = [Record(int(r[0]), int(r[1]), r[2].encode()) for r in rows]
        return [item for item in project(records, Topic(place.topic), judged=False) if isinstance(item, Item)]

    def _lookup(self, place: Place, streams: frozenset[StreamKey], before: int) -> list[Identity]:
        """`first` is greater the earlier the delivery, so "position < before" is "first > the bound's own"."""
        found: list[Identity] = []
        for part in _parts(sorted(streams), STREAMS_PER_QUERY_MAX):
            rows = self._rows(
                f"SELECT tenant, day, stream, source, seq FROM {place.raw} FINAL"  # noqa: S608  a name of ours
                " WHERE (tenant, day, stream) IN {keys:Array(Tuple(String, Date, String))} AND first > {bound:UInt64}",
                {"keys": [(t, _date(day), s) for t, day, s in part], "bound": first_of(before)},
            )
            found += [(r[0], (r[1] - _EPOCH_DAY).days, r[2], r[3], r[4]) for r in rows]
        return found

    def _rows(self, sql: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        with translated("reading what is stored"):
            return self._client.query(sql, parameters=parameters).result_rows

    # ── what is to be stored ──

    def _write(self, work: Sequence[tuple[Place, Write]]) -> list[dict[int, Dead]]:
        refused = self._insert_all(work)
        touched: set[StreamKey] = set()
        for (place, write), dead in zip(work, refused, strict=True):
            if place.raw is Log.EVENTS:
                stored = [i for i in write.items if i.offset not in dead]
                beats = {i.stream_key for i in stored if isinstance(i.row.event, ProducerBeat)}
                touched |= {i.stream_key for i in stored} - beats
        derive_calls(self._client, [(tenant, _date(day), stream) for tenant, day, stream in sorted(touched)])
        return refused

    def _insert_all(self, work: Sequence[tuple[Place, Write]]) -> list[dict[int, Dead]]:
        """All of a table at once; where any row is refused, each partition by itself, and what is at fault in it."""
        tables: defaultdict[Log, list[pa.Table]] = defaultdict(list)
        try:
            for place, write in work:
                for table, rows in _raw_tables(write.items, write.firsts, write.repeated, place):
                    tables[table].append(rows)
            for table in sorted(tables, key=lambda table: table in RAW.values()):  # where an event is, all its rows are
                self._writer.insert(table, pa.concat_tables(tables[table]))
        except RowsRefused:
            return [self._insert(place, write.items, write.firsts, write.repeated) for place, write in work]
        return [{} for _ in work]

    def _insert(
        self, place: Place, items: Sequence[Item], firsts: Sequence[int], repeated: frozenset[int]
    ) -> dict[int, Dead]:
        """Insert all; when the rows themselves are refused, halve until the one at fault stands alone."""
        try:
            for table, rows in _raw_tables(items, firsts, repeated, place):
                self._writer.insert(table, rows)
        except RowsRefused as refusal:
            if len(items) == 1:
                return {items[0].offset: _dead(items[0], refusal)}
            half = len(items) // 2
            left = self._insert(place, items[:half], firsts[:half], repeated)
            return left | self._insert(place, items[half:], firsts[half:], repeated)
        return {}


def _raw_tables(
    items: Sequence[Item], firsts: Sequence[int], repeated: frozenset[int], place: Place
) -> list[tuple[Log, pa.Table]]:
    """What a record can say and a column cannot hold is the row's fault as much as what the store finds: bytes that are
    no text, in a field that we do not know.
    """
    try:
        return raw_tables(items, firsts, repeated, place.raw, {"log": place.log, "partition": place.partition})
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise RowsRefused(f"building columns of {len(items)} rows: {type(error).__name__}") from None


def _dead(item: Item, refusal: RowsRefused) -> Dead:
    row: Row = item.row
    code = "" if refusal.code is None else f" (code {refusal.code})"
    detail = f"the store refuses this {type(row.event).__name__}{code}"
    return Dead(item.offset, item.size, Reason.REFUSED_BY_STORE, detail, row.payload)


def _date(day: int) -> date:
    return _EPOCH_DAY + timedelta(days=day)


def _parts(streams: Sequence[StreamKey], size: int) -> Iterable[Sequence[StreamKey]]:
    return (streams[i : i + size] for i in range(0, len(streams), size))
