"""Compares the live tables with their shadow by hashes of rows, as far as both have been folded. Changes nothing.

Versions and times of arrival are left out, and rollups are added up over epochs and partitions as their views do. A
worker may write on meanwhile. So rows beyond the bound are left out, and of what is folded from several events the
calls and minutes that an event beyond the bound touches. Raw rows are written before what is made of them: whatever
seems to differ is looked at once more, after it was read, for being touched.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client
from msgspec import Struct

from ingest.replay.sources import Stretch
from ingest.store.faults import translated
from ingest.tables import DERIVED, RAW, Log

DIFFERENCES_MAX = 1_000  # looked at, of a table
EXAMPLES_MAX = 5
_LEFT_OUT = frozenset({"first", "arrived", "version", "payload_hash", "closing"})
_FOLD = frozenset({"log", "partition", "epoch", "version", "buckets"})
_TTL = re.compile(r"TTL (.+?) \+ (?:toIntervalDay\((\d+)\)|INTERVAL (\d+) DAY)")


class Difference(Struct, frozen=True):
    """One key that is not the same on both sides. `where`: in the live table only, in the rebuilt one only, or both."""

    key: dict[str, str]
    where: str


class Compared(Struct, frozen=True):
    """`differences` counts no further than DIFFERENCES_MAX. `rows` of the rebuilt table were compared."""

    table: str
    rows: int
    differences: int
    examples: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        return self.differences == 0


class _Table(Struct, frozen=True):
    """How the rows of one table are identified and hashed. `rows` is a query over `{db}`; `touched` one for the minutes
    or calls that an event beyond the bound touches.
    """

    log: Log
    key: tuple[str, ...]
    day: str
    value: tuple[str, ...]
    rows: str
    touched: str = ""


def compare(client: Client, live: str, shadow: str, stretches: Sequence[Stretch]) -> list[Compared]:
    """Every table, derived ones and raw ones. Raises StoreUnreachable or StoreRefused."""
    beyond = beyond_sql(stretches)
    return [_compared(client, _table(client, log, live, beyond), live, shadow) for log in (*DERIVED, *RAW.values())]


def beyond_sql(stretches: Iterable[Stretch]) -> str:
    """Whether a row's record lies where the rebuild has not been."""
    known: dict[str, list[str]] = {}
    for s in stretches:
        within = f"(partition = {s.place.partition} AND offset < {s.stop})"
        known.setdefault(s.place.log, []).append(within)
    reached = [f"(log = {_text(log)} AND ({' OR '.join(places)}))" for log, places in known.items()]
    return f"NOT ({' OR '.join(reached) or '0'})"


def _table(client: Client, log: Log, live: str, beyond: str) -> _Table:
    columns = [str(r[0]) for r in _rows(client, "SELECT name FROM system.columns WHERE database = {d:String}"
               " AND table = {t:String} ORDER BY position", {"d": live.strip("`"), "t": str(log)})]  # fmt: skip
    young = _young_sql(client, log, live)
    if "epoch" in columns:
        dims = tuple(c for c in columns if c not in _FOLD)
        touched = " UNION DISTINCT ".join(
            f"SELECT DISTINCT toStartOfMinute(toDateTime(at, 'UTC')) FROM {live}.{raw} WHERE {beyond}"  # noqa: S608
            for raw in RAW.values()
        )
        rows = (
            f"SELECT {', '.join(dims)}, sumMap(folded.buckets) AS buckets FROM {{db}}.{log} AS folded FINAL"  # noqa: S608
            f" WHERE {young} AND minute NOT IN ({touched}) GROUP BY {', '.join(dims)}"
            " HAVING arraySum(mapValues(buckets)) > 0"
        )
        return _Table(log, dims, "toDate(minute)", ("mapSort(buckets)",), rows, touched)
    if "offset" in columns:
        key: tuple[str, ...] = ("tenant", "day", "stream", "source", "seq")
        touched = ""
        where = f"{young} AND NOT ({beyond})"
    else:
        key = ("tenant", "day", "call_id")
        touched = f"SELECT tenant, day, stream FROM {live}.{Log.EVENTS} WHERE {beyond}"  # noqa: S608
        where = f"{young} AND (tenant, day, call_id) NOT IN ({touched})"
    value = tuple(c for c in columns if c not in _LEFT_OUT)
    rows = f"SELECT {', '.join(dict.fromkeys((*key, *value)))} FROM {{db}}.{log} FINAL WHERE {where}"  # noqa: S608
    return _Table(log, key, "day", value, rows, touched)


def _young_sql(client: Client, log: Log, live: str) -> str:
    """What is about to expire may be gone on one side."""
    made = _rows(
        client,
        "SELECT create_table_query FROM system.tables WHERE database = {d:String} AND name = {t:String}",
        {"d": live.strip("`"), "t": str(log)},
    )
    found = _TTL.search(str(made[0][0]))
    return f"toDate({found[1]}) > today() - {int(found[2] or found[3])} + 1" if found else "1"


def _compared(client: Client, table: _Table, live: str, shadow: str) -> Compared:
    sides = [_by_day(client, table, db) for db in (live, shadow)]
    rows = sum(count for count, _ in sides[1].values())
    days = [day for day in sorted(sides[0].keys() | sides[1].keys()) if sides[0].get(day) != sides[1].get(day)]
    found = _untouched(client, table, _differing(client, table, live, shadow, days)) if days else []
    examples = tuple(
        Difference({name: str(value) for name, value in zip(table.key, row, strict=False)}, str(row[len(table.key)]))
        for row in found[:EXAMPLES_MAX]
    )
    return Compared(str(table.log), rows, len(found), examples)


def _by_day(client: Client, table: _Table, db: str) -> dict[Any, tuple[int, int]]:
    rows = _rows(
        client,
        f"SELECT {table.day} AS of_day, count(), sum({_hash(table)}) FROM ({table.rows.format(db=db)})"  # noqa: S608
        " GROUP BY of_day",
        {},
    )
    return {r[0]: (int(r[1]), int(r[2])) for r in rows}


def _differing(client: Client, table: _Table, live: str, shadow: str, days: Sequence[Any]) -> Sequence[Sequence[Any]]:
    keys = ", ".join(table.key)
    sides = [
        f"SELECT {keys}, {_hash(table)} AS hash, {of} AS side FROM ({table.rows.format(db=db)})"  # noqa: S608
        f" WHERE {table.day} IN {{days:Array(Date)}}"
        for of, db in ((1, live), (2, shadow))
    ]
    both = " UNION ALL ".join(sides)
    return _rows(
        client,
        f"SELECT {keys}, multiIf(sum(side) = 1, 'live', sum(side) = 2, 'rebuilt', 'both') FROM ({both})"  # noqa: S608
        f" GROUP BY {keys} HAVING count() != 2 OR min(hash) != max(hash) ORDER BY {keys}"
        f" LIMIT {DIFFERENCES_MAX}",
        {"days": list(days)},
    )


def _untouched(client: Client, table: _Table, found: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Without those that an event beyond the bound has touched by now: asked again, after they were read."""
    if not found or not table.touched:
        return list(found)
    touched = {tuple(row) for row in _rows(client, table.touched, {})}
    width = 1 if "minute" in table.key else len(table.key)
    return [row for row in found if tuple(row[:width]) not in touched]


def _hash(table: _Table) -> str:
    names = dict.fromkeys((*table.key, *table.value))
    return f"cityHash64(toString(tuple({', '.join(names)})))"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _rows(client: Client, sql: str, asked: dict[str, Any]) -> Sequence[Sequence[Any]]:
    with translated("comparing with the rebuild"):
        return client.query(sql, parameters=asked).result_rows
