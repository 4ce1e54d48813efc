"""How long the store keeps what: rows older than the contract says go with the next merge, younger ones stay."""

import datetime as dt
import re
from typing import Any

import pytest

from ingest import query
from ingest.store.writer import Writer
from ingest.tables import SCHEMAS, Log
from tests.contract.conftest import DAY, NOON

CALLS, SPANS, WORDS = 400, 90, 30
# None: for good. Erasures have to be applied to whatever is read again, and generations may never change.
KEPT_DAYS: dict[Log, int | None] = {
    Log.EVENTS: CALLS,
    Log.TURNS: CALLS,
    Log.SPANS: SPANS,
    Log.GLITCHES: CALLS,
    Log.TOOL_CALLS: CALLS,
    Log.CALLS: CALLS,
    Log.LATENCY_1M: CALLS,
    Log.LATENCY_BY_VARIATION_1M: CALLS,
    Log.QUALITY_1M: CALLS,
    Log.OUTCOMES: CALLS,
    Log.RECONCILED: CALLS,
    Log.CORRECTIONS: CALLS,
    Log.CONTENT: WORDS,
    Log.CONTROL: None,
    Log.LOGS: None,
}
NEVER_EXPIRES = {"erased_calls_log", "migrations"}
DAY_ZERO = dt.date(1970, 1, 1)


def aged(log: Log, days: int, seq: int) -> dict[str, Any]:
    """A row of that age. A fact outside calls lies under day 0, and is as old as its own time."""
    row: dict[str, Any] = {"seq": seq, "epoch": seq, "offset": seq}
    row |= {"day": DAY - dt.timedelta(days=days), "at": NOON - dt.timedelta(days=days)}
    row["minute"] = row["at"]
    return row | ({"day": DAY_ZERO} if log in {Log.OUTCOMES, Log.CONTROL} else {})


def test_every_table_has_its_time(client: query.Client) -> None:
    assert set(KEPT_DAYS) == set(Log)
    sql = "SELECT name, create_table_query AS ddl FROM system.tables WHERE database = 'default' AND engine LIKE '%Tree'"
    found = {row["name"]: re.findall(r"TTL .*?toIntervalDay\((\d+)\)", row["ddl"]) for row in query.rows(client, sql)}
    for name in NEVER_EXPIRES & set(found):
        assert found.pop(name) == []
    assert found == {str(log): [] if days is None else [str(days)] for log, days in KEPT_DAYS.items()}


@pytest.mark.parametrize("log", SCHEMAS)
def test_what_is_older_goes_and_what_is_younger_stays(client: query.Client, arrow, log: Log) -> None:
    days = KEPT_DAYS[log] or 4_000
    ages = (0, days - 2, days + 2)
    for seq, age in enumerate(ages):
        Writer(client).insert(log, arrow(log, aged(log, age, seq)))
    client.command(f"ALTER TABLE {log} MATERIALIZE TTL SETTINGS mutations_sync = 2") if KEPT_DAYS[log] else None
    client.command(f"OPTIMIZE TABLE {log} FINAL")
    column = "epoch" if "epoch" in SCHEMAS[log].names else "seq"
    kept = [row["n"] for row in query.rows(client, f"SELECT {column} AS n FROM {log} ORDER BY n")]
    assert kept == ([0, 1] if KEPT_DAYS[log] else [0, 1, 2])


def test_a_fact_goes_by_its_own_time_and_not_with_its_neighbours(client: query.Client, arrow) -> None:
    rows = [aged(Log.OUTCOMES, age, seq) for seq, age in enumerate((1, 401, 2, 500, 399))]
    Writer(client).insert(Log.OUTCOMES, arrow(Log.OUTCOMES, *rows))  # all in one part
    client.command(f"OPTIMIZE TABLE {Log.OUTCOMES} FINAL")
    assert [r["seq"] for r in query.rows(client, f"SELECT seq FROM {Log.OUTCOMES} ORDER BY seq")] == [0, 2, 4]
