"""A log in memory as a ground, with workers in threads. Nothing is connected here, so no connection can be lost."""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ingest.partition import Limits
from ingest.stream.memory import MemoryWorker
from ingest.stream.memory_group import MemoryGroup
from runtime.emit import MemoryLog
from runtime.events import Topic
from tests.contract.ground import EPOCH_RECORDS, PARTITIONS


class InMemory:
    """The broker of this ground. `kill` and `start` are missing on purpose: who reads it is in the same process."""

    survives = False

    def __init__(self) -> None:
        self.log = MemoryLog(partitions=PARTITIONS[Topic.CALLS])
        self.group = MemoryGroup(self.log, session_s=0.5)

    @property
    def ends(self) -> dict[int, int]:
        ends = {n: self.log.end(Topic.CALLS, n) for n in range(self.log.partitions)}
        return {partition: end for partition, end in ends.items() if end}

    def wipe(self) -> None:
        self.log.wipe()
        self.group.forget()

    def produce(self, records: Iterable[tuple[str, bytes]], topic: Topic = Topic.CALLS) -> None:
        for key, value in records:
            self.log.append(topic, key, value)

    def records(self, topic: Topic, least: int = 0) -> list[Any]:
        found = [k for n in range(self.log.partitions) for k in self.log.fetch(topic, n, 0, 1_000_000)]
        assert len(found) >= least
        return [
            SimpleNamespace(
                partition=k.partition, offset=k.offset, timestamp=k.at_ms, key=k.key.encode(), value=k.value
            )
            for k in found
        ]

    def committed(self) -> dict[int, int]:
        return self.group.commits(Topic.CALLS)


class WorkerThread:
    """A worker's thread. What it logs goes to `path`."""

    def __init__(self, broker: InMemory, clickhouse: str, path: Path, flush: int) -> None:
        limits = Limits(epoch_records=EPOCH_RECORDS, flush_records_max=flush)
        self._worker, self._path = MemoryWorker(broker.group, clickhouse, limits), path
        self._log = logging.FileHandler(path)
        self._log.addFilter(lambda record: record.thread == self._worker.thread.ident)
        logging.getLogger("ingest").setLevel(logging.INFO)
        logging.getLogger("ingest").addHandler(self._log)
        threading.Thread(target=self._worker.start, daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._worker.thread.is_alive()

    def kill(self) -> None:
        self._worker.kill()
        self._end()

    def stop(self) -> int:
        self._worker.stop()
        self._end()
        return 0

    def _end(self) -> None:
        logging.getLogger("ingest").removeHandler(self._log)
        self._log.close()

    def said(self, text: str) -> bool:
        return text in self._path.read_text()

    def words(self) -> str:
        return "\n".join(self._path.read_text().splitlines()[-40:])

    def counted(self, sample: str) -> float:
        families = self._worker.meters.registry.collect()
        return sum(s.value for family in families for s in family.samples if s.name == sample)


class OverMemory:
    """The ground."""

    @contextmanager
    def broker(self) -> Iterator[InMemory]:
        yield InMemory()

    def worker(self, broker: InMemory, clickhouse: str, log: Path, flush_records_max: int) -> WorkerThread:
        return WorkerThread(broker, clickhouse, log, flush_records_max)
