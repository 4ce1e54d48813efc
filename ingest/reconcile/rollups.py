"""The rollups as key → counts: as they are stored, and recounted from raw events. Judges nothing, writes nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from clickhouse_connect.driver.client import Client

from ingest.effects import RollupKey
from ingest.measures import measures_of
from ingest.store.faults import translated
from ingest.tables import SCHEMAS, Log
from runtime.events import Event, decode_many

ROLLUPS: tuple[Log, ...] = tuple(table for table, schema in SCHEMAS.items() if "epoch" in schema.names)
CONSOLIDATED = ""  # the log of a row that stands for all logs, partitions and epochs
DAYS_OF_A_CALL = 31  # how far the id of a call may lie behind what happens in it: the late horizon, and one

Counts: TypeAlias = dict[RollupKey, Counter[int]]


def key_columns(table: Log) -> list[str]:
    """What a row is of, in the order of a RollupKey, which has the table before them."""
    names = list(SCHEMAS[table].names)
    return names[: names.index("log")]


def stored(client: Client, start: datetime, stop: datetime) -> Counts:
    """What the views count in those minutes."""
    found: Counts = {}
    for table in ROLLUPS:
        names = ", ".join(key_columns(table))
        sql = f"""
SELECT {names}, if(countIf(log = '') > 0, sumMapIf(folded.buckets, log = ''), sumMap(folded.buckets)) AS counts
FROM {table} AS folded FINAL
WHERE minute >= {{start:DateTime}} AND minute < {{stop:DateTime}} GROUP BY {names}
"""  # noqa: S608  names of ours
        for row in _rows(client, sql, {"start": start, "stop": stop}):
            found[(table, *plain(row[:-1]))] = Counter(row[-1])
    return found


def recounted(client: Client, start: datetime, stop: datetime) -> Counts:
    """What the first deliveries of those minutes add up to, a block of events at a time."""
    sql = """
SELECT payload FROM events_log FINAL
WHERE at >= {start:DateTime64(6)} AND at < {stop:DateTime64(6)} AND day BETWEEN {first:Date} AND {last:Date}
"""
    first, last = (start - timedelta(days=DAYS_OF_A_CALL)).date(), (stop + timedelta(days=1)).date()
    found: Counts = {}
    with translated("recounting events"):
        parameters = {"start": start, "stop": stop, "first": first, "last": last}
        with client.query_row_block_stream(sql, parameters=parameters) as blocks:
            for block in blocks:
                fold(found, [row[0].encode() for row in block])
    return found


def fold(found: Counts, payloads: list[bytes]) -> None:
    for measures in measures_of([e for e in decode_many(payloads) if isinstance(e, Event)]):
        for key, bucket in measures:
            counts = found.get(key)
            if counts is None:
                counts = found[key] = Counter()
            counts[bucket] += 1


def plain(cells: Iterable[Any]) -> tuple[Any, ...]:
    """A key's cells as the measures have them: the minute in seconds."""
    return tuple(int(c.replace(tzinfo=UTC).timestamp()) if isinstance(c, datetime) else c for c in cells)


def _rows(client: Client, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
    with translated("reading rollups"):
        return list(client.query(sql, parameters=dict(parameters)).result_rows)
