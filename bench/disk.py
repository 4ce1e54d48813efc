"""What an event takes on disk: `python -m bench.disk`.

Calls go the whole way, from a broker through the worker into all tables and rollups, which are then merged to the end.
Beside it the naive layout: the same rows and columns of the same tables as strings, in plain MergeTree, in the order of
their arrival, with no codec but the default. Indexes and marks are counted; Kafka's own copy is not.
"""

import sys
import time
from collections.abc import Callable
from contextlib import closing

from clickhouse_connect.driver.client import Client

from bench.figures import Figure, options, progress, tell
from bench.ground import ANSWER_MAX_S, await_events, send, stack
from bench.load import Load
from ingest.query import connect, rows
from ingest.tables import SCHEMAS

EVENTS, EVENTS_QUICK = 400_000, 20_000
_WITHOUT_EVENTS = "calls_log"  # derived, and so no schema of its own here


def measure(events: int = EVENTS, say: Callable[[str], None] = lambda _: None, *, apache: bool = False) -> list[Figure]:
    """Bytes an event over all tables, and by table for those that hold rows."""
    load = Load()
    with (
        stack(worker=True, apache=apache) as running,
        closing(connect(running.addresses.clickhouse, ANSWER_MAX_S)) as client,
    ):
        say(f"{events:,} events through the log")
        send(running.addresses.kafka, load, events, time.time_ns() // 1000)
        await_events(client, load.said.events, say)
        ours, naive = {}, {}
        for table in (*(log.value for log in SCHEMAS), _WITHOUT_EVENTS):
            client.command(f"OPTIMIZE TABLE {table} FINAL")
            if size := _bytes(client, table):
                say(f"{table} as strings")
                ours[table], naive[table] = size, _naive(client, table)
    total, other = sum(ours.values()), sum(naive.values())
    return [
        _figure("disk.all", total, other, load.said.events),
        *(_figure(f"disk.{t.removesuffix('_log')}", ours[t], naive[t], load.said.events) for t in ours),
    ]


def _figure(name: str, ours: int, naive: int, events: int) -> Figure:
    yardstick = f"naive {naive / events:.1f}"
    return Figure(name, round(ours / events, 1), "bytes an event", yardstick, round(ours / naive, 3), 1)


def _naive(client: Client, table: str) -> int:
    """The size of the same rows as strings; leaves nothing behind."""
    described = rows(client, f"DESCRIBE TABLE {table}")
    columns = [row["name"] for row in described if row["default_type"] not in {"MATERIALIZED", "ALIAS"}]
    order = "ORDER BY arrived" if "arrived" in columns else ""
    text = ", ".join(f"toString(t.`{name}`) AS `{name}`" for name in columns)
    client.command("DROP TABLE IF EXISTS naive")
    client.command(
        f"CREATE TABLE naive ENGINE = MergeTree ORDER BY tuple() AS SELECT {text} FROM {table} AS t FINAL {order}"  # noqa: S608  names of tables of ours
    )
    client.command("OPTIMIZE TABLE naive FINAL")
    size = _bytes(client, "naive")
    client.command("DROP TABLE naive SYNC")
    return size


def _bytes(client: Client, table: str) -> int:
    sql = """SELECT sum(bytes_on_disk) AS size FROM system.parts
             WHERE database = currentDatabase() AND table = {table:String} AND active"""
    return int(rows(client, sql, {"table": table})[0]["size"])


def main() -> int:
    """Prints a line a table."""
    parser = options("disk", __doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--apache", action="store_true", help="on Apache Kafka, and not the embedded broker")
    asked = parser.parse_args()
    tell(measure(EVENTS_QUICK if asked.quick else asked.events, progress("disk"), apache=asked.apache), asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
