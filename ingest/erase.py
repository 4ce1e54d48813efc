"""Erases a lead: says so on the log, waits until a worker knows, and removes what is stored. Prints nothing.

The order is what makes it safe to be killed: the log is told first, so that no reader keeps what comes again; then the
calls are noted, their words removed, and last what names the lead. Recordings are no part of the store: whoever keeps
some removes them, by the calls that `erased_calls_log` names.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from ingest.errors import IngestError
from ingest.query import Client
from ingest.store.erasing import Removed, is_stored, parts_left, remove_lead
from ingest.stream.forgetting import REFRESH_S
from ingest.stream.retained import kept_until
from runtime.emit import Brokers, DurableLog, say
from runtime.events import LeadErased, Topic

KNOWN_WITHIN_S = 30.0  # a worker that runs has read the control topic by then
SETTLE_S = 2 * REFRESH_S + 1.0  # then every worker has asked, and stored what it had in hand
SWEEPS_MAX = 5
SOURCE = "turnlog.erase"
_FLUSH_TIMEOUT_S = 30.0


class NotSaid(IngestError):
    """The broker did not take the erasure, so nothing was removed."""


class Expiry(Struct, frozen=True):
    """When the last copy in a topic is gone; `until` is absent where the broker does not say how long it keeps."""

    topic: str
    until: datetime | None
    why: str = ""


class Erased(Struct, frozen=True, kw_only=True):
    """`known`: a worker has stored the erasure. Counts are of rows as stored; `parts` hold old bytes for a while."""

    tenant: str
    lead_sha256: str
    at: datetime
    event: str
    known: bool
    words: int
    named: int
    calls: int
    sweeps: int
    parts: int
    parts_s: int
    expires: tuple[Expiry, ...] = ()


def erase(
    client: Client,
    log: DurableLog,
    brokers: Brokers,
    tenant: str,
    lead: str,
    *,
    told: Callable[[str], None] = lambda _: None,
    known_within_s: float = KNOWN_WITHIN_S,
    settle_s: float = SETTLE_S,
) -> Erased:
    """Raises IngestError; then it may be done again from the beginning, as it may when it was killed."""
    now_us = time.time_ns() // 1000
    told("telling the log")
    stream = say(log, tenant, f"erase {lead} {now_us}", LeadErased, source=SOURCE, at=now_us, lead=lead)
    if log.flush(_FLUSH_TIMEOUT_S):
        raise NotSaid("the broker did not take the erasure, and nothing was removed: see that it runs, and try again")
    removed = [remove_lead(client, tenant, lead, now_us)]
    told("waiting until the workers know")
    known = _known(client, tenant, stream, known_within_s)
    if known:
        time.sleep(settle_s)
    # What a worker had in hand when it learnt of it lies in the tables now.
    while len(removed) < SWEEPS_MAX:
        told("removing what is stored")
        removed.append(remove_lead(client, tenant, lead, now_us))
        if not removed[-1].any:
            break
    total = Removed(*(sum(column) for column in zip(*removed, strict=True)))
    parts, parts_s = parts_left(client)
    return Erased(
        tenant=tenant,
        lead_sha256=hashlib.sha256(lead.encode()).hexdigest(),
        at=datetime.fromtimestamp(now_us / 1e6, UTC),
        event=stream,
        known=known,
        words=total.words,
        named=total.named,
        calls=total.calls,
        sweeps=len(removed),
        parts=parts,
        parts_s=parts_s,
        expires=_expiries(brokers, now_us),
    )


def _known(client: Client, tenant: str, stream: str, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not is_stored(client, tenant, stream):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _expiries(brokers: Brokers, now_us: int) -> tuple[Expiry, ...]:
    found = []
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    for topic in (Topic.CONTENT, Topic.DEAD_CONTENT, Topic.CALLS, Topic.OUTCOMES):
        kept: timedelta | None
        kept, why = kept_until(brokers, topic)
        found.append(Expiry(topic.value, None if kept is None else now + kept, why))
    return tuple(found)
