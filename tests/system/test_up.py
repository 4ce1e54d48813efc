"""A stack that stays: started, used, hurt in every part, stopped. What is said of it is held against the kernel."""

import io
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.demo.result import Result
from deploy.demo.run import Order, run_demo
from deploy.demo.show import show
from deploy.embedded import Addresses, PartState, Stack, background, found_stack, supervise
from deploy.embedded.background import Stopped, stop_running
from deploy.embedded.child import free_port
from deploy.settings import Settings, without_password
from ingest.query import connect, rows
from ingest.stream.logs import backlog
from ingest.stream.worker import GROUP
from runtime.emit import Brokers
from runtime.events import Topic, decode
from tests.system.demo import TURNLOG, Striking, environment, turnlog

PATIENCE_S = 60.0  # a deadline, never a measure
CALLS = 3


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not so after {PATIENCE_S:g} s: {what}"
        time.sleep(0.05)


def stack_in(state: Path) -> Addresses:
    found = found_stack(Settings(state))
    assert found is not None
    return found


def part(state: Path, name: str) -> PartState:
    return next(part for part in stack_in(state).parts if part.name == name)


def all_run(state: Path) -> bool:
    return all(part.state == "running" for part in stack_in(state).parts)


def gone(pid: int) -> bool:
    """Linux: no such process, or one that has ended and that nobody has asked after yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def demo(state: Path, calls: int = CALLS, also: Any = None, seed: int = 1) -> Result:
    return run_demo(Settings(state), Order(calls=calls, seed=seed, faults=False), Console(quiet=True), also=also)[0]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a stack in the background."""
    state = tmp_path_factory.mktemp("up")
    told = turnlog(state, "up", "--detach", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["children"] == stack_in(state).children
    yield state
    turnlog(state, "down")


def test_demo_and_sql_use_the_stack_that_runs(up: Path) -> None:
    before = stack_in(up)
    told = turnlog(up, "demo", "--calls", str(CALLS), "--no-faults", "--json")
    assert told.returncode == 0, told.stderr
    campaign = json.loads(told.stdout)["report"]["campaign"]
    told = turnlog(up, "sql", f"SELECT count() AS n FROM calls WHERE campaign = '{campaign}'", "--format", "json")
    assert json.loads(told.stdout) == [{"n": CALLS}]
    assert stack_in(up) == before
    until(lambda: backlog(Brokers(before.kafka), GROUP, Topic.CALLS) == 0, "the worker has committed the whole log")


@pytest.mark.parametrize("arguments", [["up"], ["up", "--detach"]])
def test_a_second_start_names_the_first(up: Path, arguments: list[str]) -> None:
    told = turnlog(up, *arguments)
    assert told.returncode == 1
    assert f"process {stack_in(up).pid}: `turnlog down`" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("name", ["broker", "store", "worker"])
def test_a_part_that_is_killed_is_named_and_healed_in_its_place(up: Path, name: str) -> None:
    until(lambda: all_run(up), "all parts run")
    before, log = part(up, name), up / "logs" / "stack.log"
    told_before = log.read_text()
    own_log = (up / "logs" / f"{name}.log").read_text()
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: part(up, name).restarts == before.restarts + 1 and all_run(up), f"the {name} runs again")
    after = part(up, name)
    assert (after.address, after.ending) == (before.address, "was killed by signal 9")
    assert after.since > before.since
    assert after.pid != before.pid
    told = log.read_text().removeprefix(told_before)
    assert f"the {name} was killed by signal 9; its log is {up / 'logs' / name}.log" in told
    if own_log:
        assert own_log.splitlines()[-1] in told, "its last lines"
    assert (up / "logs" / f"{name}.log").read_text().startswith(own_log), "the log of the life before is kept"
    assert demo(up).report.complete


def test_a_broker_that_dies_under_calls_leaves_a_demo_that_names_them(up: Path) -> None:
    """The worker stands still meanwhile, so that what the broker holds is lost and not just late."""
    until(lambda: all_run(up), "all parts run")
    stack = stack_in(up)
    restarts = part(up, "broker").restarts

    client = connect(stack.clickhouse)

    def stored_by_call(where: str = "") -> Counter[str]:
        return Counter({r["call_id"]: r["stored"] for r in rows(client, f"SELECT call_id, stored FROM sources{where}")})

    def hold_the_worker() -> None:
        """A call has ended by now."""
        began = {decode(value).stream for _, value in log.records(Topic.CALLS)}
        until(lambda: not began.isdisjoint(stored_by_call(" WHERE complete")), "a call is stored")
        os.kill(stack.children["worker"], signal.SIGSTOP)

    def kill_the_broker() -> None:
        until(lambda: backlog(Brokers(stack.kafka), GROUP, Topic.CALLS) > 0, "the broker holds what nobody has read")
        os.kill(stack.children["broker"], signal.SIGKILL)
        os.kill(stack.children["worker"], signal.SIGCONT)

    log = Striking({400: hold_the_worker, 600: kill_the_broker})
    result = demo(up, calls=24, also=log)
    assert part(up, "broker").restarts == restarts + 1

    said = Counter(decode(value).stream for _, value in log.records(Topic.CALLS))
    stored = stored_by_call()
    client.close()
    affected = {call_id: (n, stored[call_id]) for call_id, n in said.items() if n != stored[call_id]}
    assert len(said) == result.report.made == 24
    assert 0 < len(affected) < 24
    assert {call.call_id: (call.said, call.stored) for call in result.report.incomplete} == affected
    assert not result.fine
    told = io.StringIO()
    show(result, (), Console(file=told, width=200))
    assert all(call_id in told.getvalue() for call_id in affected)


def test_a_stack_whose_supervisor_is_killed_is_taken_over(up: Path) -> None:
    before = stack_in(up)
    client = connect(before.clickhouse)
    stored = rows(client, "SELECT count() AS n FROM events")
    client.close()
    os.kill(before.pid, signal.SIGKILL)
    told = turnlog(up, "up", "--detach")
    assert told.returncode == 0, told.stderr
    assert all(map(gone, before.children.values()))
    after = stack_in(up)
    assert after.pid != before.pid
    client = connect(after.clickhouse)
    assert rows(client, "SELECT count() AS n FROM events") == stored
    client.close()
    assert demo(up).report.complete


def test_down_names_what_it_stopped_and_finds_nothing_the_second_time(up: Path, tmp_path: Path) -> None:
    """A worker alone, between servers that run elsewhere."""
    servers = stack_in(up)
    where = {"KAFKA_BOOTSTRAP_SERVERS": servers.kafka, "CLICKHOUSE_URL": servers.clickhouse}
    assert turnlog(tmp_path, "up", "--detach", **where).returncode == 0
    stack = stack_in(tmp_path)
    assert list(stack.children) == ["worker"]
    assert (stack.kafka, stack.clickhouse) == (servers.kafka, servers.clickhouse)
    told = turnlog(tmp_path, "down", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {"pid": stack.pid, "parts": stack.children, "forced": False}
    assert all(map(gone, stack.children.values()))
    until(lambda: gone(stack.pid), "the supervisor ends, with nothing left to do")
    told = turnlog(tmp_path, "down")
    assert (told.returncode, told.stdout) == (0, "")
    assert f"no stack runs in {str(tmp_path)!r}" in told.stderr
    assert json.loads(turnlog(tmp_path, "down", "--json").stdout) == {"pid": None, "parts": {}, "forced": False}


def test_a_stack_that_does_not_listen_is_killed_and_the_demo_on_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert turnlog(tmp_path, "up", "--detach").returncode == 0
    stack = stack_in(tmp_path)
    client = connect(stack.clickhouse)
    with subprocess.Popen(
        [*TURNLOG, "demo", "--real-time", "--calls", "2"], env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: rows(client, "SELECT count() AS n FROM events_log")[0]["n"] > 0, "the calls run")
        client.close()
        os.kill(stack.pid, signal.SIGSTOP)
        monkeypatch.setattr(background, "END_TIMEOUT_S", 0.2)
        stopped = stop_running(Settings(tmp_path), lambda _: None)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert stopped == Stopped(stack.pid, stack.children, forced=True)
    assert process.returncode == 1
    assert "was stopped while the calls ran" in err
    assert "Traceback" not in err
    assert found_stack(Settings(tmp_path)) is None
    assert all(map(gone, stack.children.values()))
    until(lambda: gone(stack.pid), "a killed process is gone")


def test_in_the_foreground_it_has_the_ports_that_were_asked_for_and_ends_in_order(tmp_path: Path) -> None:
    ports = free_port(), free_port(), free_port()
    options = [f"--{name}-port={port}" for name, port in zip(("kafka", "store", "metrics"), ports, strict=True)]
    # As from a terminal: whoever runs the tests in the background has SIGINT ignored, and children inherit that.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from deploy.cli import main; main()"
    )
    with subprocess.Popen(
        [*TURNLOG[:-2], "-c", program, "up", *options],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            until(lambda: process.poll() is not None or found_stack(Settings(tmp_path)) is not None, "it is ready")
            stack = stack_in(tmp_path)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.terminate()  # which it does not do by itself where the test failed
    assert process.returncode == 0, err
    addresses = f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[2]}/metrics"
    assert (stack.kafka, without_password(stack.clickhouse), stack.metrics) == addresses
    assert all(f"{pid}" in out for pid in stack.children.values())
    assert all(map(gone, stack.children.values()))
    assert err.rstrip().endswith("stopped")


def test_a_part_that_hangs_is_killed_and_healed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "CHECK_EVERY_S", 0.1)
    monkeypatch.setattr(supervise, "MISSES_MAX", 2)
    told: list[str] = []
    with Stack(Settings(tmp_path), told.append, worker=False) as stack:
        for name in ("broker", "store"):
            os.kill(stack.addresses.children[name], signal.SIGSTOP)

        def healed() -> bool:
            stack.tend()
            return all((part.state, part.restarts) == ("running", 1) for part in stack.addresses.parts)

        until(healed, "both run again")
        assert found_stack(Settings(tmp_path)) == stack.addresses
        assert all("did not answer" in part.ending for part in stack.addresses.parts)
    for name in ("broker", "store"):
        assert any(f"the {name} lived and did not answer" in words for words in told)
