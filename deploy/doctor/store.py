"""Asks the store for its schema, how young its events are, and what is incomplete. Changes nothing in it."""

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
    return {
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
            )
            for r in lacking
        ),
    }


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
