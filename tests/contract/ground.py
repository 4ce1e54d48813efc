"""What the adapter suite stands on: a broker, and workers that carry its log into the tables. Judges nothing.

A ground is a kind of broker and an adapter for it. Every fact of the suite holds on every ground; where two kinds of
broker differ (one keeps its log when it is killed, another does not), the difference is a field here.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from ingest import query
from ingest.stream.intake import Spot
from ingest.stream.letters import DeadLetter
from runtime.events import Topic

PARTITIONS = {
    Topic.CALLS: 4,
    Topic.CONTENT: 4,
    Topic.OUTCOMES: 4,
    Topic.CONTROL: 1,
    Topic.DEAD_LETTERS: 1,
    Topic.DEAD_CONTENT: 1,
}
PATIENCE_S = 60.0  # a deadline, never a measure
EPOCH_RECORDS = 50  # never another one for the same log


class Broker(Protocol):
    """A running broker whose topics (PARTITIONS) are empty when it is handed over."""

    ends: dict[Spot, int]  # the next offset of each partition that workers read, as `produce` was told
    survives: bool  # what was acknowledged before `kill` is there after `start`

    def kill(self) -> None:
        """It ends without a word."""

    def start(self) -> None:
        """After `kill`: it is back at the same address."""

    def pause(self) -> None:
        """It stands still, with all of its connections open."""

    def go_on(self) -> None:
        """After `pause`."""

    def wipe(self) -> None:
        """Another log at the same address: empty topics with other ids, nothing committed."""

    def produce(self, records: Iterable[tuple[str, bytes | None]], topic: Topic = Topic.CALLS, **options: Any) -> None:
        """Returns when all are acknowledged."""

    def records(self, topic: Topic, least: int = 0) -> list[Any]:
        """Every record of the topic, by partition and in order; waits for `least`. Each has its `partition`, `offset`,
        `timestamp` (ms), `key` and `value`.
        """

    def committed(self) -> dict[Spot, int]:
        """What the workers' group has committed."""


class Worker(Protocol):
    """A worker that runs by itself."""

    @property
    def alive(self) -> bool: ...

    def kill(self) -> None:
        """It ends where it stands: no flush, no commit, no word to the group."""

    def stop(self) -> int:
        """Asks it to stop, and waits; its exit code."""

    def said(self, text: str) -> bool:
        """Whether its log has this text."""

    def words(self) -> str:
        """The end of its log, for whoever reads of a failure."""

    def counted(self, sample: str) -> float:
        """The sum of a sample over its labels, as on /metrics."""


class Ground(Protocol):
    """A kind of broker, and the adapter that reads it."""

    def broker(self) -> AbstractContextManager[Broker]:
        """Nobody else uses it inside the `with`."""

    def worker(self, broker: Broker, clickhouse: str, log: Path, flush_records_max: int, **settings: Any) -> Worker:
        """Starts one with EPOCH_RECORDS and flushes of at most `flush_records_max`; what it says goes to `log`. The
        other settings are those of WorkerSettings, as far as JSON can say them.
        """


class House:
    """A broker and a database that nobody else uses, and the workers between them."""

    def __init__(self, ground: Ground, broker: Broker, url: str, folder: Path) -> None:
        self._ground, self.broker, self.url, self.folder = ground, broker, url, folder
        self.workers: list[Worker] = []

    def worker(self, flush: int = 1_000, **settings: Any) -> Worker:
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = self._ground.worker(self.broker, self.url, log, flush, **settings)
        self.workers.append(worker)
        return worker

    def read(self) -> None:
        """Until the group has committed all that is there; while it goes on, it may take its time."""
        moving: dict[Spot, int] = {}

        def read() -> bool:
            moving.clear()
            moving.update(self.broker.committed())
            return moving == self.broker.ends

        until(
            read,
            f"the group has read to {self.broker.ends}",
            lambda: f"committed: {self.broker.committed()}\n" + "\n".join(w.words() for w in self.workers),
            moving=lambda: dict(moving),
        )

    def letters(self) -> list[tuple[DeadLetter, bytes]]:
        """Dead letters with their bytes."""
        content = {r.key: r.value for r in self.broker.records(Topic.DEAD_CONTENT)}
        letters = [
            (r.key, msgspec.json.decode(r.value, type=DeadLetter)) for r in self.broker.records(Topic.DEAD_LETTERS)
        ]
        return [(letter, content[key]) for key, letter in letters]


@contextmanager
def house_on(ground: Ground, url: str, folder: Path) -> Iterator[House]:
    """A house whose workers write to the database at `url`. Those that are left at the end are killed."""
    with ground.broker() as broker:
        house = House(ground, broker, url, folder)
        try:
            yield house
        finally:
            for worker in house.workers:
                with suppress(ProcessLookupError):
                    worker.kill()


_databases = iter(range(1_000))


@contextmanager
def house_at(ground: Ground, store_url: str, folder: Path) -> Iterator[House]:
    """A house with a database of its own in this store."""
    database = f"house_{next(_databases)}"
    with closing(query.connect(store_url)) as admin:
        admin.command(f"CREATE DATABASE {database}")
        with house_on(ground, f"{store_url}/{database}", folder) as house:
            yield house
        admin.command(f"DROP DATABASE {database}")


def until(
    holds: Callable[[], bool],
    what: str,
    said: Callable[[], str] = lambda: "",
    moving: Callable[[], object] = lambda: None,
) -> None:
    """Polls until `holds` says so; fails with `what` and the words of `said` when for so long nothing moved."""
    deadline, last = time.monotonic() + PATIENCE_S, moving()
    while not holds():
        if (now := moving()) != last:
            deadline, last = time.monotonic() + PATIENCE_S, now
        elif time.monotonic() > deadline:
            pytest.fail(f"not so after {PATIENCE_S:g} s: {what}\n{said()}")
        time.sleep(0.05)


def by_key(records: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    """Values in order, by key."""
    grouped: defaultdict[str, list[bytes]] = defaultdict(list)
    for key, value in records:
        grouped[key].append(value)
    return dict(grouped)
