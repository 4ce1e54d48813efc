"""`turnlog doctor` on stacks that are well, and on stacks of which something is not."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from deploy.doctor.broker import ask_broker
from deploy.embedded import Addresses, Stack
from deploy.settings import Settings
from runtime.emit import Brokers, Context, Recorder, kafka_log
from runtime.events import CallEnded, CallStarted, Direction, EndReason, NodeEntered, Topic, new_call_id
from tests.system.demo import turnlog

PATIENCE_S = 60.0
EVENTS = 5  # of each call below


class _Lossy:
    """A log that loses one record."""

    def __init__(self, log: Any, lost: int | None) -> None:
        self._log, self._lost, self._count = log, lost, 0

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        if self._count != self._lost:
            self._log.append(topic, key, value)
        self._count += 1


def say_call(where: Addresses, lost: int | None = None, close: bool = True) -> str:
    """A call of EVENTS events, one of them lost on its way; its id."""
    now_us = time.time_ns() // 1000
    call_id = new_call_id(now_us)
    log = kafka_log(Brokers(where.kafka))
    told = Recorder(
        _Lossy(log, lost), Context(stream=call_id, tenant="t", campaign="c", agent="a", agent_version="1"), "runtime"
    )
    told.record(CallStarted, at=now_us, direction=Direction.INBOUND)
    told.record(NodeEntered, at=now_us, turn=0, node="greet")
    told.record(NodeEntered, at=now_us, turn=1, node="bye")
    told.record(CallEnded, at=now_us, reason=EndReason.AGENT_ENDED)
    if close:
        told.close(now_us)
    assert log.close() == 0
    return call_id


def examined(state: Path, **more: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and facts and findings."""
    told = turnlog(state, "doctor", "--json", **more)
    assert "Traceback" not in told.stderr
    return told.returncode, json.loads(told.stdout)


def until(state: Path, holds: Callable[[dict[str, Any]], bool]) -> tuple[int, dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        code, found = examined(state)
        with contextlib.suppress(TypeError):  # a check of it had not succeeded yet
            if holds(found["facts"]):
                return code, found
        assert time.monotonic() < deadline, found


def faults(found: dict[str, Any]) -> dict[str, str]:
    return {f["where"]: f["what"] for f in found["findings"] if f["level"] == "fault"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Addresses]]:
    state = tmp_path_factory.mktemp("state")
    with Stack(Settings(state), lambda _: None) as running:
        yield state, running.addresses


def test_a_stack_is_well_until_its_worker_is_killed(tmp_path: Path) -> None:
    with Stack(Settings(tmp_path), lambda _: None) as running:
        where = running.addresses
        say_call(where)
        code, found = until(tmp_path, lambda f: f["store"]["calls"] == 1 and f["broker"] and not _lag(f))
        facts = found["facts"]
        assert (code, faults(found)) == (0, {})
        assert {p["name"]: p["pid"] for p in facts["stack"]["parts"]} == where.children
        assert all(p["alive"] and p["answers"] and p["version"] for p in facts["stack"]["parts"])
        assert sum(p["end"] for p in facts["broker"]["partitions"]) == EVENTS
        assert (facts["store"]["sources"], facts["store"]["incomplete_count"]) == (1, 0)
        assert facts["store"]["youngest_at"] == max(facts["store"]["youngest_by_partition"].values())
        assert facts["store"]["migrations"] == facts["store"]["expected"]
        assert facts["store"]["version"]
        assert facts["disk"]["free_bytes"] > 0

        os.kill(where.children["worker"], signal.SIGKILL)
        say_call(where)
        code, found = until(tmp_path, lambda f: _lag(f) == EVENTS)
        assert code == 1
        assert f"process {where.children['worker']} is gone" in faults(found)["worker"]
        assert f"{EVENTS} records wait" in faults(found)["lag"]
        assert set(faults(found)) == {"worker", "lag"}


def _lag(facts: dict[str, Any]) -> int:
    return sum(p["lag"] for p in facts["broker"]["partitions"])


def test_dead_letters_are_counted_by_reason_and_their_bytes_stay_where_they_are(stack: tuple[Path, Addresses]) -> None:
    state, where = stack
    with closing(KafkaProducer(bootstrap_servers=where.kafka)) as producer:
        for n in range(3):
            producer.send(Topic.CALLS.value, value=f"something that was said {n}".encode(), key=b"k")
        producer.send(Topic.CALLS.value, value=b'{"type":"NeverHeardOf","v":1}', key=b"k")
        producer.flush()
    code, found = until(state, lambda f: f["broker"]["letters"]["count"] == 4)
    assert code == 1
    assert found["facts"]["broker"]["letters"]["by_reason"] == {"malformed": 3, "unknown_type": 1}
    assert "3 malformed, 1 unknown_type" in faults(found)["dead letters"]
    letters = ask_broker(Brokers(where.kafka), letters_max=3).letters
    assert (letters.count, letters.read) == (4, 3)
    told = turnlog(state, "doctor")
    assert told.returncode == 1
    assert "4 records could not be stored" in told.stdout
    assert "something that was said" not in told.stdout + told.stderr + json.dumps(found)


def test_a_call_that_lacks_an_event_is_named_and_one_that_runs_is_not_at_fault(stack: tuple[Path, Addresses]) -> None:
    state, where = stack
    lacking = say_call(where, lost=2)
    running = say_call(where, close=False)
    _, found = until(state, lambda f: f["store"]["incomplete_count"] == 2 and not _lag(f))
    assert f"{lacking} runtime {EVENTS - 1} of {EVENTS}" in faults(found)["completeness"]
    assert running not in faults(found)["completeness"]
    assert [f["what"] for f in found["findings"] if f["level"] == "note"] == [
        f"1 source ({running} runtime {EVENTS - 1} of ?) are still open"
    ]


def test_a_store_that_hangs_hides_nothing_else(stack: tuple[Path, Addresses]) -> None:
    state, where = stack
    os.kill(where.children["store"], signal.SIGSTOP)
    try:
        code, found = examined(state)
    finally:
        os.kill(where.children["store"], signal.SIGCONT)
    assert code == 1
    assert "store" in found["facts"]["failed"]
    assert found["facts"]["store"] is None
    assert len(found["facts"]["broker"]["partitions"]) == 4
    assert [p["answers"] for p in found["facts"]["stack"]["parts"]] == [True, False, True]
    assert any("does not answer" in f["what"] for f in found["findings"])


def test_without_a_stack_it_examines_what_is_installed(tmp_path: Path) -> None:
    code, found = examined(tmp_path)
    assert code == 0
    assert [f["level"] for f in found["findings"]] == ["note"]
    assert "turnlog up" in found["findings"][0]["do"]
    assert found["facts"]["versions"]["turnlog"]
    told = turnlog(tmp_path, "doctor")
    assert told.returncode == 0
    assert "no fault found" in told.stdout


def test_a_killed_stack_is_told_by_what_it_left(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = {"kafka": "127.0.0.1:1", "clickhouse": "http://127.0.0.1:1", "metrics": "", "pid": dead.pid, "children": {}}
    (tmp_path / "stack.json").write_text(json.dumps(left))
    (tmp_path / "stack.lock").touch()
    code, found = examined(tmp_path)
    assert code == 1
    assert str(dead.pid) in faults(found)["stack"]


def test_servers_of_ones_own_that_are_away_are_named_and_no_password_is(tmp_path: Path) -> None:
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "CLICKHOUSE_URL": "http://user:sekret@127.0.0.1:1"}
    code, found = examined(tmp_path, **away)
    assert code == 1
    assert set(faults(found)) == {"broker", "store"}
    assert "sekret" not in json.dumps(found)
    assert found["facts"]["disk"]["free_bytes"] > 0
