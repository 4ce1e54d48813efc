"""A producer that is killed, and one whose disk fills: real processes, a real broker, a real small disk."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.emit import kafka_log
from runtime.events import Topic
from tests.contract.kafka_broker import Embedded, embedded_broker

_WRITER = """
import sys, time
from pathlib import Path
from runtime.emit import Brokers, kafka_log
from runtime.events import Topic

log = kafka_log(Brokers(sys.argv[1]), Path(sys.argv[2]), answering=False)
for n in range(1_000_000):
    log.append(Topic.CALLS, f"call-{n % 5}", b'{"type":"NodeEntered","n":%d}' % n)
    if n % 50 == 0:
        print(n, log.counts().spooled.total(), flush=True)
        time.sleep(0.001)
"""


@pytest.fixture
def broker() -> Iterator[Embedded]:
    with embedded_broker() as running:
        yield running


def sent(broker: Embedded, least: int) -> dict[str, list[int]]:
    """By key, in the order of their first arrival."""
    numbers: dict[str, dict[int, None]] = {}
    for record in broker.records(Topic.CALLS, least):
        numbers.setdefault(record.key.decode(), {})[int(record.value.split(b":")[-1][:-1])] = None
    return {key: list(found) for key, found in numbers.items()}


def test_what_lay_on_the_disk_of_a_killed_process_is_sent_by_the_next_in_order(
    broker: Embedded, tmp_path: Path
) -> None:
    broker.kill()
    command = [sys.executable, "-P", "-c", _WRITER, broker.servers, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        spooled = 0
        while spooled < 3_000:
            spooled = int(process.stdout.readline().split()[1])
        os.kill(process.pid, signal.SIGKILL)
    broker.start()
    log = kafka_log(broker.address, tmp_path)
    found = log.counts().found.total()
    assert found >= spooled
    assert log.close(60.0) == 0
    came = sent(broker, found)
    assert sorted(n for numbers in came.values() for n in numbers) == list(range(found))
    assert all(numbers == sorted(numbers) for numbers in came.values())


def test_a_full_disk_costs_ordinary_events_alone_and_then_lets_no_call_start(tmp_path: Path) -> None:
    """On a file system of 2 MiB, in a namespace that ends with the program."""
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=2m none "$1" && shift && exec "$@"', "sh"]
    if subprocess.run([*mount, str(tmp_path), "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a disk in a namespace of its own is not permitted here")
    program = [sys.executable, "-m", "tests.system.full_disk", str(tmp_path)]
    ran = subprocess.run([*mount, str(tmp_path), *program], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
