"""Whether two builds of one table hold the same rows: counts and hashes of collapsed rows, in the store itself.

What tells one writing from another is left out: versions and arrival times. So is what lies beyond the bound of the
rebuild, which only the table in use can hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from ingest.position import OFFSETS_MAX
from ingest.replay.source import Stretch
from ingest.store.faults import translated
from ingest.tables import RAW, SCHEMAS, Log

EXAMPLES_MAX = 5
# Rows about to expire: whether they are gone already is a matter of merges. Days, one less than the table keeps.
_KEPT_DAYS = {Log.SPANS: 89, Log.CONTENT: 29}
_LEFT_OUT = frozenset({"first", "arrived", "version"})
_RAW = frozenset(RAW.values())
# As pairs: the driver sends a map as JSON, which ClickHouse does not read.
_BOUND = "CAST({bounds:Array(Tuple(String, UInt64))}, 'Map(String, UInt64)')[concat(log, '/', toString(partition))]"


@dataclass(frozen=True, slots=True)
class Difference:
    """A table whose builds differ: rows of each, and keys of some that differ."""

    table: str
    live_rows: int
    built_rows: int
    examples: tuple[str, ...]


def compared() -> tuple[Log, ...]:
    """The tables that the core's effects write."""
    return tuple(log for log in Log if log in SCHEMAS or log is Log.CALLS)


def derived() -> tuple[Log, ...]:
    """The tables that a rebuild replaces. The raw rows stay: they are what is rebuilt from."""
    return tuple(log for log in compared() if log not in _RAW)


def compare(client: Client, shadow: str, stretches: Sequence[Stretch], table: Log) -> tuple[int, Difference | None]:
    """Rows compared, and how the builds differ if they do. `shadow` is the database of the new build."""
    bounds = _bounds(stretches)
    live = _rows(client, table, "")
    built = _rows(client, table, f"{shadow}.")
    with translated(f"comparing {table}"):
        sums = [
            client.query(f"SELECT count(), sum(h) FROM ({side})", parameters={"bounds": bounds}).result_rows[0]  # noqa: S608
            for side in (live, built)
        ]
        if tuple(sums[0]) == tuple(sums[1]):
            return int(sums[0][0]), None
        found = client.query(
            "SELECT k FROM"  # noqa: S608  names of ours
            f" (SELECT k, h, 1 AS side FROM ({live}) UNION ALL SELECT k, h, -1 AS side FROM ({built}))"
            f" GROUP BY k, h HAVING sum(side) != 0 ORDER BY k LIMIT {2 * EXAMPLES_MAX}",
            parameters={"bounds": bounds},
        ).result_rows
    examples = tuple(dict.fromkeys(str(row[0]) for row in found))[:EXAMPLES_MAX]
    return int(sums[0][0]), Difference(table, int(sums[0][0]), int(sums[1][0]), examples)


def _bounds(stretches: Sequence[Stretch]) -> list[tuple[str, int]]:
    """By log and partition. The topics' logs have other ids, so one list serves all tables."""
    return [(f"{s.place.log}/{s.place.partition}", min(s.bound, OFFSETS_MAX)) for s in stretches]


def _rows(client: Client, table: Log, database: str) -> str:
    """SQL for the key `k` and the hash `h` of each collapsed row."""
    with translated(f"describing {table}"):
        columns = [
            (str(r[0]), str(r[1]), bool(r[2]))
            for r in client.query(
                "SELECT name, type, is_in_sorting_key FROM system.columns WHERE database = currentDatabase()"
                " AND table = {table:String} AND default_kind != 'MATERIALIZED' ORDER BY position",
                parameters={"table": table.value},
            ).result_rows
        ]
    kept = [_ordered(name, kind) for name, kind, _ in columns if name not in _LEFT_OUT]
    key = [name for name, _, in_key in columns if in_key]
    where = _within(table, {name for name, _, _ in columns})
    hashed = f"cityHash64({', '.join(kept)}) AS h"
    if "epoch" not in key:
        return f"SELECT {_shown(key)} AS k, {hashed} FROM {database}{table} FINAL WHERE {where}"  # noqa: S608
    # What consolidation has merged into one row a key has no epochs left: there the sums are compared.
    dimensions = [name for name in key if name not in ("log", "partition", "epoch")]
    merged = f"({', '.join(dimensions)}) IN (SELECT {', '.join(dimensions)} FROM {table} WHERE log = '')"  # noqa: S608
    whole = "log = ''" if not database else "1"
    summed = f"cityHash64({', '.join(dimensions)}, mapSort(sumMap(buckets))) AS h"
    return (
        f"SELECT {_shown(key)} AS k, {hashed} FROM {database}{table} FINAL WHERE {where} AND NOT {merged}"  # noqa: S608
        f" UNION ALL SELECT {_shown(dimensions)} AS k, {summed}"
        f" FROM {database}{table} FINAL WHERE {merged} AND {whole} GROUP BY {', '.join(dimensions)}"
    )


def _shown(names: Sequence[str]) -> str:
    parts = ", ', ', ".join(f"toString({name})" for name in names)
    return f"concat({parts})"


def _ordered(name: str, kind: str) -> str:
    """A map has an order of writing, which says nothing."""
    return f"mapSort({name})" if kind.startswith("Map(") else name


def _within(table: Log, columns: set[str]) -> str:
    """Rows that the rebuild can have: see `compare`. Names without a database are those of the table in use."""
    beyond = f"offset >= {_BOUND}"
    if "offset" in columns:
        expiring = f" AND day > today() - {_KEPT_DAYS[table]}" if table in _KEPT_DAYS else ""
        return f"NOT ({beyond}){expiring}"
    if table is Log.CALLS:  # a call of which more has come since is another row
        return f"(tenant, day, call_id) NOT IN (SELECT tenant, day, stream FROM {Log.EVENTS} WHERE {beyond})"  # noqa: S608
    moved = f"SELECT log, partition, epoch FROM {table} WHERE version >= {_BOUND}"  # noqa: S608
    return f"(log, partition, epoch) NOT IN ({moved})"
