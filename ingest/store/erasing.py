"""Removes a lead from the tables for good, by mutations: rows are rewritten, not masked. Decides nothing.

Erasures are read from the stored events of the control topic, so the store knows of them without a broker.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from ingest.erased import NOTHING, Erasures, began_us, pattern_of
from ingest.store.faults import translated
from ingest.tables import RAW, Log
from runtime.events import Event, Topic, Unreadable, decode

CALLS_PER_STATEMENT_MAX = 500
_SYNC = {"mutations_sync": 2}
# Where a row says whose it is. The control topic names the lead on purpose: that is how an erasure is known again.
_NAMING = tuple(table for topic, table in RAW.items() if topic not in (Topic.CONTROL, Topic.CONTENT))
_TOUCHED = (Log.CONTENT, *_NAMING, Log.CALLS)
_MINE = "(tenant, stream) IN (SELECT tenant, stream FROM erased_calls_log WHERE tenant = {tenant:String})"
_FACT_BEFORE = "day = '1970-01-01' AND at <= fromUnixTimestamp64Micro({until_us:Int64})"


class Removed(NamedTuple):
    """Rows as they were stored, repeats among them."""

    words: int
    named: int
    calls: int

    @property
    def any(self) -> bool:
        return any(self)


def known_erasures(client: Client) -> Erasures:
    """What the store knows of erasures. Raises StoreUnreachable or StoreRefused."""
    erasures = Erasures()
    erasures.learn(_events(client, "SELECT payload FROM control_log FINAL WHERE type = 'LeadErased'"))
    erasures.calls = {(str(r[0]), str(r[1])) for r in _rows(client, "SELECT tenant, stream FROM erased_calls_log", {})}
    return erasures


def is_stored(client: Client, tenant: str, stream: str) -> bool:
    """Whether a fact of the control topic has arrived in the store."""
    found = _rows(
        client,
        "SELECT count() FROM control_log WHERE tenant = {tenant:String} AND stream = {stream:String}",
        {"tenant": tenant, "stream": stream},
    )
    return bool(found[0][0])


def remove_lead(client: Client, tenant: str, lead: str, until_us: int) -> Removed:
    """Everything that ties rows to the lead, up to that moment. The calls are noted before anything is removed, so that
    it can be done again from the beginning however it ended. Counts what was there.
    """
    asked = {"tenant": tenant, "lead": lead, "until_us": until_us}
    _note(client, tenant, _calls_of(client, tenant, lead, until_us))
    words = _count(client, f"{Log.CONTENT} WHERE tenant = {{tenant:String}} AND {_MINE}", asked)
    if words:
        _mutate(client, f"ALTER TABLE {Log.CONTENT} DELETE WHERE tenant = {{tenant:String}} AND {_MINE}", asked)
    named = sum(_blank(client, table, asked, lead) for table in _NAMING)
    mine = f"tenant = {{tenant:String}} AND lead = {{lead:String}} AND {_MINE.replace('stream)', 'call_id)', 1)}"
    calls = _count(client, f"{Log.CALLS} WHERE {mine}", asked)
    if calls:
        _mutate(client, f"ALTER TABLE {Log.CALLS} UPDATE lead = '' WHERE {mine}", asked)
    return Removed(words, named, calls)


def parts_left(client: Client) -> tuple[int, int]:
    """Parts that hold the old bytes until the engine removes them, and after how many seconds it does at the latest."""
    parts = _rows(
        client,
        "SELECT count() FROM system.parts"
        " WHERE NOT active AND database = currentDatabase() AND table IN {tables:Array(String)}",
        {"tables": [str(t) for t in _TOUCHED]},
    )
    settings = _rows(
        client,
        "SELECT sum(toUInt64(value)) FROM system.merge_tree_settings"
        " WHERE name IN ('old_parts_lifetime', 'cleanup_delay_period', 'max_cleanup_delay_period')",
        {},
    )
    return int(parts[0][0]), int(settings[0][0])


def _blank(client: Client, table: Log, asked: dict[str, Any], lead: str) -> int:
    mine = f"tenant = {{tenant:String}} AND lead = {{lead:String}} AND ({_MINE} OR ({_FACT_BEFORE}))"
    there = _count(client, f"{table} WHERE {mine}", asked)
    if there:
        payload = "replaceRegexpAll(payload, {pattern:String}, {nothing:String})"
        _mutate(
            client,
            f"ALTER TABLE {table} UPDATE lead = '', payload = {payload} WHERE {mine}",
            {**asked, "pattern": pattern_of(lead), "nothing": NOTHING},
        )
    return there


def _calls_of(client: Client, tenant: str, lead: str, until_us: int) -> list[str]:
    named = " UNION DISTINCT ".join(
        f"SELECT DISTINCT stream FROM {table} WHERE tenant = {{tenant:String}} AND lead = {{lead:String}}"  # noqa: S608
        " AND day > '1970-01-01'"
        for table in (*_NAMING, Log.CONTENT)
    )
    found = [str(row[0]) for row in _rows(client, named, {"tenant": tenant, "lead": lead})]
    return [stream for stream in found if began_us(stream, 0) <= until_us]


def _note(client: Client, tenant: str, calls: Sequence[str]) -> None:
    for start in range(0, len(calls), CALLS_PER_STATEMENT_MAX):
        with translated("noting the calls of the lead"):
            client.command(
                "INSERT INTO erased_calls_log (tenant, stream)"
                " SELECT {tenant:String}, arrayJoin({calls:Array(String)})",
                parameters={"tenant": tenant, "calls": list(calls[start : start + CALLS_PER_STATEMENT_MAX])},
            )


def _events(client: Client, sql: str) -> list[Event]:
    found = []
    for row in _rows(client, sql, {}):
        try:
            found.append(decode(row[0].encode()))
        except Unreadable:  # a newer writer's; it is no erasure that this version knows
            continue
    return found


def _count(client: Client, what: str, asked: dict[str, Any]) -> int:
    return int(_rows(client, f"SELECT count() FROM {what}", asked)[0][0])  # noqa: S608  names of ours


def _rows(client: Client, sql: str, asked: dict[str, Any]) -> Sequence[Sequence[Any]]:
    with translated("looking for what is to be erased"):
        return client.query(sql, parameters=asked).result_rows


def _mutate(client: Client, sql: str, asked: dict[str, Any]) -> None:
    with translated("erasing"):
        client.command(sql, parameters=asked, settings=_SYNC)
