"""A log in memory as a ground, with workers in threads. Nothing is connected here, so no connection can be lost."""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ingest.errors import IngestError
from ingest.partition import Limits
from ingest.stream.intake import Spot
from ingest.stream.memory import MemoryWorker
from ingest.stream.memory_group import MemoryGroup
from ingest.stream.reading import TOPICS
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
    def ends(self) -> dict[Spot, int]:
        spots = [Spot(topic.value, n) for topic in TOPICS for n in range(self.log.partitions)]
        ends = {spot: self.log.end(Topic(spot.topic), spot.partition) for spot in spots}
        return {spot: end for spot, end in ends.items() if end}

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

    def committed(self) -> dict[Spot, int]:
        return {Spot(topic.value, n): o for topic in TOPICS for n, o in self.group.commits(topic).items()}


class WorkerThread:
    """A worker's thread. What it logs goes to `path`."""

    def __init__(self, broker: InMemory, clickhouse: str, path: Path, flush: int, **settings: Any) -> None:
        limits = Limits(epoch_records=EPOCH_RECORDS, flush_records_max=flush)
        self._worker, self._path = MemoryWorker(broker.group, clickhouse, limits, **settings), path
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
        code = 0
        try:
            self._worker.stop()
        except IngestError as error:  # as a process says it on its last line
            self._path.write_text(f"{self._path.read_text()}{error}\n")
            code = 1
        self._end()
        return code

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

    def worker(
        self, broker: InMemory, clickhouse: str, log: Path, flush_records_max: int, **settings: Any
    ) -> WorkerThread:
        return WorkerThread(broker, clickhouse, log, flush_records_max, **settings)
