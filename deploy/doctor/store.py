"""Asks the store for its schema, how young its events are, and what is incomplete. Changes nothing in it."""

from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.doctor.facts import Incomplete, Store
from deploy.settings import without_password
from ingest.errors import StoreRefused, StoreUnusable
from ingest.query import Client, connect, rows
from ingest.store.migrate import pending, shipped
from runtime.events import UNCOUNTED

INCOMPLETE_READ_MAX = 500  # the newest; their keys travel in a request line
TIMEOUT_S = 10
GAPS_READ_MAX = 50  # sources whose missing numbers are looked up
RANGES_MAX = 5  # of them, for each
LOST_READ_MAX = 50
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNKNOWN_TABLE = 60

# The day is the id's, and prunes; the id tells the moment as well.
_SINCE = "day >= toDate({since:DateTime}) AND UUIDv7ToDateTime(toUUID(call_id), 'UTC') >= {since:DateTime}"
_MISSED = f"NOT complete AND source NOT IN ({', '.join(map(repr, sorted(UNCOUNTED)))})"
_COUNTS = (
    f"SELECT uniqExact(tenant, call_id) AS calls, count() AS sources, countIf({_MISSED}) AS incomplete FROM sources"  # noqa: S608
    f" WHERE {_SINCE}"
)
_INCOMPLETE = (
    "SELECT tenant, day, call_id, source, stored, said FROM sources"  # noqa: S608
    f" WHERE {_SINCE} AND {_MISSED} ORDER BY call_id DESC, source LIMIT {INCOMPLETE_READ_MAX}"
)
_LAST = (
    "SELECT tenant, call_id, source, max(at) AS last_at FROM events WHERE (tenant, day, call_id)"
    " IN {keys:Array(Tuple(String, Date, String))} GROUP BY tenant, call_id, source"
)
_LOST = (
    "SELECT call_id, count() OVER () AS n FROM call_completeness"  # noqa: S608
    f" WHERE {_SINCE} AND state = 'lost' ORDER BY call_id DESC LIMIT {LOST_READ_MAX}"
)
_SEQS = (
    "SELECT tenant, call_id, source, groupArray(seq) AS seqs FROM events WHERE (tenant, day, call_id)"
    " IN {keys:Array(Tuple(String, Date, String))} GROUP BY tenant, call_id, source"
)
_YOUNGEST = "SELECT partition, max(at) AS youngest FROM events WHERE day >= toDate({since:DateTime}) GROUP BY partition"


def ask_store(url: str, now_us: int) -> Store:
    """Raises StoreUnreachable or StoreRefused."""
    with closing(connect(url, receive_timeout_s=TIMEOUT_S)) as client:
        applied = _applied(client)
        missing, unfit = _schema(applied)
        facts: dict[str, Any] = {"youngest_at": None, "youngest_by_partition": {}, "calls": 0, "sources": 0}
        facts |= {"incomplete_count": 0, "incomplete": ()}
        if not missing and not unfit:
            facts = _events(client, datetime.fromtimestamp(now_us / 1e6, UTC) - _DAY)
        return Store(
            address=without_password(url),
            version=str(rows(client, "SELECT version() AS version")[0]["version"]),
            migrations=len(applied),
            expected=len(shipped()),
            pending=missing,
            unfit=unfit,
            **facts,
        )


def _applied(client: Client) -> dict[str, str]:
    try:
        found = rows(client, "SELECT name, hash FROM migrations ORDER BY applied_at")
    except StoreRefused as error:
        if error.code != _UNKNOWN_TABLE:
            raise
        return {}
    return {str(row["name"]): str(row["hash"]) for row in found}


def _schema(applied: dict[str, str]) -> tuple[tuple[str, ...], str]:
    try:
        return tuple(m.name for m in pending(shipped(), applied)), ""
    except StoreUnusable as error:
        return (), str(error)


def _events(client: Client, since: datetime) -> dict[str, Any]:
    asked = {"since": since.replace(microsecond=0)}
    counts = rows(client, _COUNTS, asked)[0]
    youngest = {int(r["partition"]): _us(r["youngest"]) for r in rows(client, _YOUNGEST, asked)}
    lacking = rows(client, _INCOMPLETE, asked)
    last: dict[tuple[str, str, str], int] = {}
    if lacking:
        keys = list(dict.fromkeys((r["tenant"], r["day"], r["call_id"]) for r in lacking))
        last = {
            (r["tenant"], r["call_id"], r["source"]): _us(r["last_at"]) for r in rows(client, _LAST, {"keys": keys})
        }
    gaps = _gaps(client, [r for r in lacking if r["said"] is not None][:GAPS_READ_MAX])
    lost = rows(client, _LOST, asked)
    return {
        "lost_count": int(lost[0]["n"]) if lost else 0,
        "lost": tuple(r["call_id"] for r in lost),
        "youngest_at": max(youngest.values(), default=None),
        "youngest_by_partition": youngest,
        "calls": int(counts["calls"]),
        "sources": int(counts["sources"]),
        "incomplete_count": int(counts["incomplete"]),
        "incomplete": tuple(
            Incomplete(
                call_id=r["call_id"],
                source=r["source"],
                stored=int(r["stored"]),
                said=None if r["said"] is None else int(r["said"]),
                last_at=last.get((r["tenant"], r["call_id"], r["source"]), 0),
                missing=gaps.get((r["tenant"], r["call_id"], r["source"]), ()),
            )
            for r in lacking
        ),
    }


def _gaps(client: Client, lacking: list[dict[str, Any]]) -> dict[tuple[str, str, str], tuple[tuple[int, int], ...]]:
    if not lacking:
        return {}
    keys = list(dict.fromkeys((r["tenant"], r["day"], r["call_id"]) for r in lacking))
    there = {(r["tenant"], r["call_id"], r["source"]): r["seqs"] for r in rows(client, _SEQS, {"keys": keys})}
    named = [(r["tenant"], r["call_id"], r["source"], int(r["said"])) for r in lacking]
    return {
        (t, call, source): missing_ranges(there.get((t, call, source), ()), said) for t, call, source, said in named
    }


def missing_ranges(seqs: Iterable[int], said: int) -> tuple[tuple[int, int], ...]:
    """The first ranges, both ends counted, of 0 … said - 1 that are not among `seqs`."""
    found, due = [], 0
    for seq in (*sorted(s for s in seqs if s < said), said):
        if seq > due:
            found.append((due, seq - 1))
        due = seq + 1
    return tuple(found[:RANGES_MAX])


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
