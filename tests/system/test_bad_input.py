"""What goes wrong before a call: one error, which says what, where and what to do. No traceback."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import Stack, found_stack
from deploy.errors import Misuse, StackHeld
from deploy.settings import Settings, read_settings
from tests.system.demo import turnlog


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def fails(told: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert told.returncode == code, told.stderr
    assert "Traceback" not in told.stderr
    assert all(word in told.stderr for word in words), told.stderr
    assert told.stdout == ""


def test_a_taken_port_of_the_store(tmp_path: Path, taken: int) -> None:
    fails(turnlog(tmp_path, "store", "--port", str(taken)), 1, str(taken), "another port")


def test_a_taken_port_of_the_metrics(tmp_path: Path, taken: int) -> None:
    with Stack(Settings(tmp_path), lambda _: None, worker=False):
        fails(turnlog(tmp_path, "worker", "--metrics-port", str(taken)), 1, str(taken), "another port")


def test_a_second_stack_in_one_state_folder(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    with (
        Stack(settings, lambda _: None, worker=False),
        pytest.raises(StackHeld, match=f"process {os.getpid()}.*TURNLOG_STATE"),
        Stack(settings, lambda _: None),
    ):
        pass


def test_what_a_killed_stack_left_behind_is_taken_over(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = {"kafka": "127.0.0.1:1", "clickhouse": "http://127.0.0.1:1", "metrics": "", "pid": dead.pid, "children": {}}
    (tmp_path / "stack.json").write_text(json.dumps(left))
    (tmp_path / "stack.lock").touch()
    settings = Settings(tmp_path)
    assert found_stack(settings) is None
    with Stack(settings, lambda _: None, worker=False) as stack:
        assert found_stack(settings) == stack.addresses


def test_a_store_that_another_process_holds(tmp_path: Path) -> None:
    with Stack(Settings(tmp_path / "one"), lambda _: None, worker=False) as stack:
        told = turnlog(tmp_path / "two", "store", "--path", str(tmp_path / "one" / "store"), "--port", "0")
        fails(told, 1, str(stack.addresses.children["store"]), "stop that process")


def test_a_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    fails(turnlog(tmp_path / "state", "demo", "--calls", "1"), 1, "state folder", "TURNLOG_STATE")


def test_no_stack_and_no_addresses(tmp_path: Path) -> None:
    fails(turnlog(tmp_path, "worker"), 2, "KAFKA_BOOTSTRAP_SERVERS", "CLICKHOUSE_URL")
    fails(turnlog(tmp_path, "sql", "SELECT 1"), 1, "turnlog demo", "CLICKHOUSE_URL")


def test_addresses_where_nobody_is(tmp_path: Path, taken: int) -> None:
    nowhere = f"127.0.0.1:{taken}"
    told = turnlog(tmp_path, "sql", "SELECT 1", CLICKHOUSE_URL="http://127.0.0.1:1")
    fails(told, 1, "127.0.0.1:1", "CLICKHOUSE_URL")
    told = turnlog(tmp_path, "demo", "--calls", "1", KAFKA_BOOTSTRAP_SERVERS=nowhere)
    fails(told, 1, nowhere, "KAFKA_BOOTSTRAP_SERVERS")


def test_settings_name_every_fault_at_once() -> None:
    with pytest.raises(Misuse, match=r"KAFKA_BOOTSTRAP_SERVERS.*CLICKHOUSE_URL"):
        read_settings({"KAFKA_BOOTSTRAP_SERVERS": "nowhere", "CLICKHOUSE_URL": "ftp://x"})


def test_sql_that_is_none(tmp_path: Path) -> None:
    with Stack(Settings(tmp_path), lambda _: None, worker=False):
        fails(turnlog(tmp_path, "sql", "SELEKT 1"), 1, "Syntax error")


def test_misuse_of_the_command_line(tmp_path: Path) -> None:
    assert turnlog(tmp_path, "demo", "--calls", "none").returncode == 2
    assert turnlog(tmp_path, "sql").returncode == 2
