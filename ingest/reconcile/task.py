"""Does the reconciler's tasks when they are due, one at a time, in whichever worker comes first. Judges nothing.

What a task did last, and when, is in the store, so that several workers have one schedule.

Two workers that act at once do no harm: they say the same CallLost, and write the same merged rows.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from clickhouse_connect.driver.client import Client

from ingest.errors import IngestError
from ingest.query import connect
from ingest.reconcile.beats import unheard
from ingest.reconcile.consolidate import consolidate
from ingest.reconcile.judge import Difference, differences, lost, sampled_hour
from ingest.reconcile.meters import ReconcilerMeters
from ingest.reconcile.rollups import ROLLUPS, recounted, stored
from ingest.store.faults import translated
from ingest.tables import Log
from runtime.emit import DurableLog
from runtime.events import CallLost, Topic, encode

POLL_S = 30.0
SECOND_LOOK_S = 10.0  # raw rows are written before rollups: what differs is looked at again
BEHIND_RECORDS_MAX = 20_000  # one flush: a worker that lags more may not have read what seems lost
FLUSH_S = 10.0
_log = logging.getLogger(__name__)


class Task(StrEnum):
    LOST = "lost"
    RECOUNT = "recount"
    CONSOLIDATE = "consolidate"


EVERY_S = {Task.LOST: 60, Task.RECOUNT: 3_600, Task.CONSOLIDATE: 6 * 3_600}


def due(last_us: dict[str, int], now_us: int) -> list[Task]:
    """The tasks that nobody has done for as long as EVERY_S says, in their order."""
    return [task for task in Task if now_us - last_us.get(task, 0) >= EVERY_S[task] * 1_000_000]


class Reconciler:
    """`behind` is how many records of the calls topic the workers have not taken in. Blocks: give it a thread."""

    def __init__(
        self,
        url: str,
        log: DurableLog,
        meters: ReconcilerMeters,
        behind: Callable[[], int],
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._url, self._log, self._meters, self._behind = url, log, meters, behind
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait

    def run(self) -> None:
        """Until `stop`. What fails is told in one line and tried again."""
        while not self._wait(POLL_S * random.uniform(0.5, 1.5)):
            try:
                with closing(connect(self._url)) as client:
                    self.act(client, time.time_ns() // 1000)
            except IngestError as error:
                _log.warning("the reconciler tries again in %g s: %s", POLL_S, error)
            except Exception as error:  # noqa: BLE001  the edge of a thread: its bug must not end the others' work
                _log.error("the reconciler failed (%s) and tries again in %g s", type(error).__name__, POLL_S)

    def stop(self) -> None:
        self._stop.set()

    def act(self, client: Client, now_us: int) -> list[Task]:
        """What is due now, and then what the last recount found is shown. Raises IngestError."""
        done = due(_last(client), now_us)
        for task in done:
            match task:
                case Task.LOST:
                    self._say_lost(client, now_us)
                case Task.RECOUNT:
                    self._recount(client, now_us)
                case Task.CONSOLIDATE:
                    for day in consolidate(client, now_us):
                        _log.info("%s", day)
                    _note(client, task, now_us, [("", 0, 0, 0.0)])
        self._show(client)
        return done

    def _say_lost(self, client: Client, now_us: int) -> None:
        found: list[CallLost] = []
        if self._behind() <= BEHIND_RECORDS_MAX:
            found = lost(unheard(client, now_us), now_us)
        for event in found:
            self._log.append(Topic.CALLS, event.stream, encode(event))
        left = self._log.flush(FLUSH_S) if found else 0
        self._meters.lost(max(0, len(found) - left))
        _note(client, Task.LOST, now_us, [("", len(found), len(found), 0.0)])

    def _recount(self, client: Client, now_us: int) -> None:
        hour = sampled_hour(now_us, random.randrange(2**16))
        found = _compared(client, hour)
        if any(d.differing for d in found) and not self._wait(SECOND_LOOK_S):
            found = _compared(client, hour)
        for d in found:
            if d.differing:
                _log.warning(
                    "%s differs from raw events in %d of %d rows of %s", d.rollup, d.differing, d.checked, hour[0]
                )
        _note(client, Task.RECOUNT, now_us, [(d.rollup, d.checked, d.differing, d.relative_error) for d in found])

    def _show(self, client: Client) -> None:
        with translated("reading what was reconciled"):
            rows = client.query(_LAST_RECOUNT).result_rows
        if rows:
            found = [Difference(Log(r[1]), int(r[2]), int(r[3]), float(r[4])) for r in rows]
            self._meters.recounted(int(rows[0][0]), found)


_LAST_RECOUNT = """
SELECT toUnixTimestamp64Micro(at), rollup, checked, differing, relative_error FROM reconciled_log
WHERE task = 'recount' AND at = (SELECT max(at) FROM reconciled_log WHERE task = 'recount')
"""


def _compared(client: Client, hour: tuple[datetime, datetime]) -> list[Difference]:
    return differences(ROLLUPS, recounted(client, *hour), stored(client, *hour))


def _last(client: Client) -> dict[str, int]:
    with translated("reading what was reconciled"):
        rows = client.query(
            "SELECT task, toUnixTimestamp64Micro(max(at)) FROM reconciled_log GROUP BY task"
        ).result_rows
    return {str(r[0]): int(r[1]) for r in rows}


def _note(client: Client, task: Task, now_us: int, found: Sequence[tuple[Any, int, int, float]]) -> None:
    at = datetime.fromtimestamp(now_us / 1e6, UTC)
    names = ["task", "at", "rollup", "day", "checked", "differing", "relative_error"]
    with translated("noting what was reconciled"):
        rows = [[str(task), at, str(rollup), at.date(), *figures] for rollup, *figures in found]
        client.insert(str(Log.RECONCILED), rows, column_names=names)
