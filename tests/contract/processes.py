"""A worker and a store in processes of their own, to be killed and asked. Judges nothing."""

import json
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded.child import answers, free_port
from ingest.store.credentials import Role, kept
from tests.contract.ground import EPOCH_RECORDS, until

WORKER = """
import json, logging, sys
from ingest.partition import Limits
from ingest.stream.worker import WorkerSettings, run_worker
from runtime.emit import Brokers
kafka, group, clickhouse, adapter, port, epoch, flush, more = sys.argv[1:]
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
logging.getLogger("kafka").setLevel(logging.WARNING)
limits = Limits(epoch_records=int(epoch), flush_records_max=int(flush))
more = {"session_timeout_ms": 2_000, **json.loads(more)}
run_worker(WorkerSettings(Brokers(kafka), clickhouse, int(port), adapter, group, limits, **more))
"""


@dataclass
class WorkerProcess:
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


def start_worker(
    servers: str,
    group: str,
    clickhouse: str,
    adapter: str,
    log: Path,
    flush: int,
    program: str = WORKER,
    **settings: Any,
) -> WorkerProcess:
    port = free_port()
    told = [servers, group, clickhouse, adapter, str(port), str(EPOCH_RECORDS), str(flush), json.dumps(settings)]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, *told],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    return WorkerProcess(process, log, port)


class Store:
    """A store of its own on a fixed port, which may be killed and started again in the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = kept(folder).url(Role.WRITER, f"http://127.0.0.1:{self._port}")

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
