"""What is at odds: rows that differ from a recount, calls that were named and never came. Pure; asks nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from ingest.effects import RollupKey
from ingest.tables import Log
from runtime.events import CallLost, is_call_id

LOST_AFTER_S = 300  # a call that was named for so long and of which nothing came is lost
SOURCE = "reconciler"
SAMPLE_HOURS = 48  # of how many hours that have passed one is recounted
SETTLED_S = 600  # how long an hour must have passed
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A call as beats name it, of which nothing is stored. `spooled`: what its producer had on disk at `beat_at`, its
    last beat. Times in µs.
    """

    tenant: str
    campaign: str
    env: str
    call: str
    producer: str
    last_seq: int
    first_at: int
    spooled: int
    beat_at: int


class Difference(msgspec.Struct, frozen=True):
    """A rollup against a recount of it. `differing` rows of `checked`; the error is of counts, over all true ones."""

    rollup: Log
    checked: int
    differing: int
    relative_error: float


def lost(named: Iterable[Named], now_us: int) -> list[CallLost]:
    """The events that say so, alike whoever says them and when.

    What waits on a producer's disk is on its way for as long as that producer is heard.
    """
    limit_us = LOST_AFTER_S * 1_000_000
    return [
        CallLost(
            stream=n.call,
            source=SOURCE,
            seq=0,
            at=n.first_at + limit_us,
            v=1,
            tenant=n.tenant,
            campaign=n.campaign,
            env=n.env,
            producer=n.producer,
            last_seq=n.last_seq,
        )
        for n in named
        if is_call_id(n.call)
        and now_us - n.first_at >= limit_us
        and not (n.spooled > 0 and now_us - n.beat_at < limit_us)
    ]


def differences(
    rollups: Iterable[Log], true: Mapping[RollupKey, Counter[int]], found: Mapping[RollupKey, Counter[int]]
) -> list[Difference]:
    """One for each rollup; a row that is missing differs as much as one too many."""
    judged = []
    for rollup in rollups:
        keys = {key for key in true.keys() | found.keys() if key[0] == rollup}
        off = {key: _off(true.get(key, Counter()), found.get(key, Counter())) for key in keys}
        whole = sum(true[key].total() for key in keys if key in true)
        wrong = sum(off.values())
        judged.append(Difference(rollup, len(keys), sum(1 for n in off.values() if n), wrong / max(1, whole)))
    return judged


def sampled_hour(now_us: int, pick: int) -> tuple[datetime, datetime]:
    """One of the last hours that have settled; any `pick` names one."""
    settled = _EPOCH + timedelta(microseconds=now_us) - timedelta(seconds=SETTLED_S)
    stop = settled.replace(minute=0, second=0, microsecond=0) - timedelta(hours=pick % SAMPLE_HOURS)
    return stop - timedelta(hours=1), stop


def _off(true: Counter[int], found: Counter[int]) -> int:
    return sum(abs(true[bucket] - found[bucket]) for bucket in true.keys() | found.keys())
