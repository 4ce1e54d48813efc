"""Apache Kafka from Maven Central: its jars in the user's cache, one broker process of it, and a clean part of it."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from deploy.embedded.child import Child, answers, free_port
from ingest.stream.logs import create_topics
from ingest.stream.worker import GROUP
from runtime.emit import Brokers
from tests.contract.ground import PARTITIONS, until
from tests.contract.kafka_broker import Contents

POM = Path(__file__).parent / "kafka" / "pom.xml"
DOWNLOAD_TIMEOUT_S = 900
_CLUSTER = "dHVybmxvZyBhdCB0ZXN0cw"  # any 16 bytes
# A small heap and no second compiler: it starts in 3 s and serves a test, not a year.
_JVM = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # Whoever was killed may return at once, and not after the nine seconds in which it might still be there.
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "200",
}


class Apache:
    """One broker, its own controller, on loopback. Its data folder and its ports outlive it."""

    def __init__(self, jars: Path, folder: Path, listeners: Mapping[str, int], more: Mapping[str, str]) -> None:
        """`listeners` are the ports by name of a listener, PLAINTEXT among them; `more` are properties."""
        self._folder, self.listeners = folder, listeners
        self.address = Brokers(f"127.0.0.1:{listeners['PLAINTEXT']}")
        controller = free_port()
        open_to_clients = ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())
        properties = {
            **_PROPERTIES,
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"{open_to_clients},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": open_to_clients,
            "log.dirs": str(folder / "data"),
            **more,
        }
        self._file = folder / "server.properties"
        self._file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        self._file.chmod(0o600)
        self._java = ["java", *_JVM, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*"]
        self._starts = 0
        self._process: Child | None = None

    def format(self, *options: str) -> None:
        tool = [*self._java, "kafka.tools.StorageTool", "format", "--standalone", "-t", _CLUSTER, "-c", str(self._file)]
        made = subprocess.run([*tool, *options], capture_output=True, text=True, timeout=60, check=False)
        assert made.returncode == 0, made.stdout + made.stderr

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    def start(self) -> None:
        self._starts += 1
        log = self._folder / f"kafka-{self._starts}.log"
        self._process = Child("Apache Kafka", [*self._java, "kafka.Kafka", str(self._file)], log)
        self._process.start()
        self._process.wait_ready(lambda: all(answers(port) for port in self.listeners.values()))

    def signal(self, number: int) -> None:
        assert self._process is not None
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None and self._process.alive:
            assert self._process.pid is not None
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.stop()


class Part(Contents):
    """A broker of Apache's with empty topics and a group that nobody was in. What is killed keeps its log."""

    survives = True
    _groups = iter(range(1_000_000))

    def __init__(self, server: Apache) -> None:
        super().__init__(server.address, f"{GROUP}-{next(self._groups)}")
        self._server = server

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        self.hang_up()
        self._server.kill()

    def pause(self) -> None:
        self._server.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._server.signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Topics deleted and created anew, which takes what was committed along: an operator's mistake."""
        self.ends.clear()
        with closing(KafkaAdminClient(bootstrap_servers=self.servers)) as admin:
            ours = [topic for topic in admin.list_topics() if topic in PARTITIONS]
            if ours:
                admin.delete_topics(ours)
            until(lambda: not PARTITIONS.keys() & set(admin.list_topics()), "the topics are gone")
        create_topics(self.address, PARTITIONS)
        with closing(KafkaAdminClient(bootstrap_servers=self.servers)) as admin:
            admin.wait_for_topics(list(PARTITIONS))


@contextmanager
def part_of(server: Apache) -> Iterator[Part]:
    """A clean part, whatever the one before did to the broker."""
    if not server.alive:
        server.start()
    part = Part(server)
    part.wipe()
    try:
        yield part
    finally:
        part.hang_up()


@contextmanager
def running(server: Apache) -> Iterator[Apache]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


# ── its jars ──────────────────────────────────────────────────────────────────────────────────────────────────


def version() -> str:
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)</version>", POM.read_text())
    assert found
    return found[1]


def jars(request: pytest.FixtureRequest) -> Path:
    """The folder with Kafka's jars, said to the person at the terminal when they are fetched."""
    return fetched(partial(_tell, request))


def fetched(tell: Callable[[str], None]) -> Path:
    """The folder with Kafka's jars, downloaded by Maven the first time. Skips without Java, Maven or a network."""
    if shutil.which("java") is None:
        pytest.skip("Apache Kafka needs Java 17 or later, and there is no `java`")
    base = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(base) if base else Path.home() / ".cache") / "turnlog"
    folder = cache / f"kafka-{version()}-{hashlib.sha256(POM.read_bytes()).hexdigest()[:8]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{folder.name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # somebody else may be at it: what they fetched is there afterwards
            if not folder.is_dir():
                _download(folder, tell)
    return folder


def _download(folder: Path, tell: Callable[[str], None]) -> None:
    """Into a folder beside it, which takes its name only when it is whole."""
    if shutil.which("mvn") is None:
        pytest.skip("Apache Kafka is fetched by Maven, and there is no `mvn`")
    tell(f"\nfetching Apache Kafka {version()} from Maven Central, once (about 45 MB) …\n")
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        copied = Path(beside) / "jars"
        fetch = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={copied}"]
        try:
            done = subprocess.run(fetch, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"Maven did not fetch Apache Kafka in {DOWNLOAD_TIMEOUT_S} s: is there a network?")
        if done.returncode != 0:
            tell(done.stdout[-2_000:])
            pytest.skip("Maven could not fetch Apache Kafka: is there a network?")
        copied.rename(folder)


def _tell(request: pytest.FixtureRequest, words: str) -> None:
    """To the person at the terminal, who would otherwise see a minute of nothing."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    if reporter is not None and capture is not None:
        with capture.global_and_fixture_disabled():
            reporter.write(words, flush=True)
