"""What both adapters of Kafka need to read a log, and how they end. Reads nothing itself."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.projection import Record
from runtime.emit import Brokers
from runtime.events import Topic

FETCH_BYTES = 4 * 2**20
POLL_RECORDS_MAX = 20_000  # handed over at once; what a client has fetched beyond that waits in it
METADATA_AGE_MS = 5_000  # how soon a topic is met again that was deleted and created anew; the default is 5 minutes
LEAVE_TIMEOUT_S = 8.0  # with the last flush in it; the embedded stack kills after 12
HELD_BYTES_MAX = 64 * 2**20  # of payload, read and not yet stored; as objects it is about five times that
# One group reads them all: a worker has partitions of each.
TOPICS: tuple[Topic, ...] = (Topic.CALLS, Topic.OUTCOMES, Topic.CONTROL, Topic.CONTENT)
SESSION_TIMEOUT_MS = 6_000  # the least that Kafka grants by default; a dead worker's partitions wait that long
_APPENDED = 1  # the record's timestamp is the broker's: LogAppendTime
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read, as whom, and how much of it at once."""

    brokers: Brokers
    group: str
    topics: Sequence[Topic] = TOPICS
    session_timeout_ms: int = SESSION_TIMEOUT_MS
    held_bytes_max: int = HELD_BYTES_MAX


async def left(stopping: Coroutine[Any, Any, None]) -> None:
    """Waits until a client has left its group, but not for ever: with a broker that is away some never do, and some
    raise what they cancelled themselves. Nothing hangs on it: what is not committed is read again.
    """
    leaving = asyncio.create_task(stopping)
    await asyncio.wait({leaving}, timeout=LEAVE_TIMEOUT_S)
    if not leaving.done():
        _log.warning("the broker did not let us go in %g s", LEAVE_TIMEOUT_S)
    elif leaving.cancelled() or leaving.exception() is not None:
        _log.warning("leaving the group failed; it will notice by itself")


def records_of(fetched: Sequence[Any]) -> Sequence[Record]:
    """A client's records as the core reads them: themselves, since a record made of a record costs a tenth of fetching
    and decoding it. But a timestamp that the producer made says nothing about the arrival.
    """
    if {r.timestamp_type for r in fetched} <= {_APPENDED}:
        return fetched
    now_ms = time.time_ns() // 1_000_000
    return [Record(r.offset, r.timestamp if r.timestamp_type == _APPENDED else now_ms, r.value) for r in fetched]
