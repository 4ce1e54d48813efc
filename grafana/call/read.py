"""Reads calls from the store as records, many at a time. Decides nothing about them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from grafana.call.fold import Unknown, call_record
from grafana.call.record import CallRecord
from ingest.query import Client, rows
from runtime.events import Event, Unreadable, day_of_call, decode, is_call_id

CALLS_PER_QUERY_MAX = 100
EVENTS_PER_CALL_MAX = 20_000  # an hour of talk has some 2,000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)

# The days prune the table to the partitions of these calls.
_EVENTS = """
SELECT tenant, call_id, source, seq, at, type, campaign, payload FROM events
WHERE day IN {days:Array(Date)} AND call_id IN {ids:Array(String)}
ORDER BY tenant, call_id, source, seq
LIMIT {most:UInt32} BY tenant, call_id
"""


def read_calls(client: Client, call_ids: Sequence[str], *, events_max: int = EVENTS_PER_CALL_MAX) -> list[CallRecord]:
    """The records of these calls, in the order asked for; a call of which nothing is stored is not among them.

    A record holds at most `events_max` events, and says when there are more. An id of two tenants has two records.
    Raises StoreUnreachable or StoreRefused.
    """
    wanted = [call_id for call_id in dict.fromkeys(call_ids) if is_call_id(call_id)]
    found: dict[str, list[CallRecord]] = {}
    for start in range(0, len(wanted), CALLS_PER_QUERY_MAX):
        for record in _read(client, wanted[start : start + CALLS_PER_QUERY_MAX], events_max):
            found.setdefault(record.call_id, []).append(record)
    return [record for call_id in wanted for record in found.get(call_id, [])]


def read_events(
    client: Client, call_id: str, *, events_max: int = EVENTS_PER_CALL_MAX
) -> list[tuple[list[Event | Unknown], bool]]:
    """The events of one call by source and seq, at most so many, and whether there are more; once for each tenant that
    has this id. Raises StoreUnreachable or StoreRefused.
    """
    return list(_events_of(client, [call_id], events_max)) if is_call_id(call_id) else []


def _read(client: Client, ids: Sequence[str], events_max: int) -> Iterator[CallRecord]:
    for events, cut in _events_of(client, ids, events_max):
        yield call_record(events, cut=cut)


def _events_of(client: Client, ids: Sequence[str], events_max: int) -> Iterator[tuple[list[Event | Unknown], bool]]:
    days = sorted({(_EPOCH + timedelta(days=day_of_call(i))).date() for i in ids})
    # One more than a record holds tells that there are more.
    asked = {"days": days, "ids": list(ids), "most": events_max + 1}
    for _, its in groupby(rows(client, _EVENTS, asked), key=lambda r: (r["tenant"], r["call_id"])):
        events = [_event(row) for row in its]
        yield events[:events_max], len(events) > events_max


def _event(row: dict[str, Any]) -> Event | Unknown:
    try:
        return decode(row["payload"].encode())
    except Unreadable:  # a newer writer's
        return Unknown(
            stream=row["call_id"],
            source=row["source"],
            seq=row["seq"],
            at=(row["at"] - _EPOCH) // _US,
            type=row["type"],
            tenant=row["tenant"],
            campaign=row["campaign"],
        )
