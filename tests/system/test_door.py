"""Pipecat and LiveKit themselves against a running door: their spans through Kafka and the worker into the tables.

Each framework runs in the environment that `deploy/frameworks.sh` makes, with delays that are known. How long the
caller waited is held to what the program itself saw, within 60 ms; a component to its injected delay, which no figure
may be below by more than 10 ms nor above by more than 300 ms, on a machine that does other things as well.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from alerts.slos import objectives
from deploy.doctor.store import ask_store
from deploy.embedded.child import free_port
from grafana.call.lines import list_calls
from grafana.call.wanted import Filters
from ingest.query import connect, rows
from tests.contract.ground import until
from tests.system.demo import TURNLOG, environment, posted, stack_up, turnlog
from tests.unit.foreign import requests_at

ROOT = Path(__file__).parents[2]
OPTIONS = ("--settle", "0.5", "--campaign", "door-test")
WAITED_S, BELOW_S, ABOVE_S = 0.06, 0.01, 0.3
TOKEN = "correct horse battery"


def python_of(framework: str) -> Path:
    made = ROOT / ".frameworks" / framework
    if not (made / ".made").is_file():
        pytest.skip(f"{framework} is not installed: run deploy/frameworks.sh {framework}")
    return made / "bin" / "python"


@contextmanager
def door(state: Path, port: int, *options: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """`turnlog door`, once it says that it listens."""
    process = subprocess.Popen(
        [*TURNLOG, "door", "--port", str(port), *OPTIONS, *options],
        env=environment(state, **more),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told = process.stderr.readline()
    assert f"door at http://127.0.0.1:{port}/v1/traces" in told, told + process.stderr.read()
    rest: list[str] = []
    reader = threading.Thread(target=lambda: rest.extend(process.stderr or []))
    reader.start()
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        reader.join()
        process.stderr.close()
        assert rest == []  # it logs nothing of what it gets


def post(port: int, request: dict[str, Any], **headers: str) -> tuple[int, Any]:
    status, answer = posted(port, json.dumps(request), **headers)
    return status, json.loads(answer)


class Stack:
    """A stack in the background, and what its tables say."""

    def __init__(self, state: Path, store: str) -> None:
        self.state, self.store, self.client = state, store, connect(store)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return [dict(row) for row in rows(self.client, sql)]

    def close(self) -> None:
        self.client.close()

    def call_of(self, agent: str) -> str:
        """The call of that agent, once it has its end."""
        query = f"SELECT call_id FROM calls WHERE agent = '{agent}' AND ended_at IS NOT NULL"
        until(lambda: len(self.rows(query)) == 1, f"the call of {agent} is in the tables")
        return str(self.rows(query)[0]["call_id"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("door")
    with stack_up(state) as found, closing(Stack(state, found.clickhouse)) as running:
        yield running


# ── the frameworks themselves ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def injected(stack: Stack) -> dict[str, dict[str, Any]]:
    """One call of each framework that is installed, at the same time, and what each injected."""
    port = free_port()
    found = [f for f in ("pipecat", "livekit") if (ROOT / ".frameworks" / f / ".made").is_file()]

    def run(framework: str) -> dict[str, Any]:
        program = ROOT / "tests" / "frameworks" / f"{framework}_call.py"
        done = subprocess.run(
            [python_of(framework), program, f"http://127.0.0.1:{port}/v1/traces"],
            env={**os.environ, "HOSTNAME": "unknown"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    with door(stack.state, port, "--tool", "book"), ThreadPoolExecutor() as both:
        told = dict(zip(found, both.map(run, found), strict=True))
        for framework in found:
            stack.call_of(f"{framework}-agent")
    return told


@pytest.mark.parametrize("framework", ["pipecat", "livekit"])
def test_turns_are_counted_and_the_interruption_is_seen(
    framework: str, stack: Stack, injected: dict[str, dict[str, Any]]
) -> None:
    python_of(framework)
    call, truth = stack.call_of(f"{framework}-agent"), injected[framework]
    turns = stack.rows(f"SELECT turn, outcome, latency_us FROM turns WHERE call_id = '{call}' ORDER BY turn")
    answered = [t for t in turns if t["latency_us"] is not None]
    assert len(answered) == truth["turns"]
    assert [i for i, t in enumerate(answered) if t["outcome"] == "interrupted"] == [truth["interrupted"]]
    assert len([t for t in turns if t["outcome"] == "disappeared"]) == truth.get("unanswered", 0)
    [row] = stack.rows(f"SELECT * FROM calls WHERE call_id = '{call}'")
    assert (row["turns"], row["interrupted"]) == (len(turns), 1)
    assert (row["campaign"], row["tenant"]) == ("spring", "default")


@pytest.mark.parametrize("framework", ["pipecat", "livekit"])
def test_latencies_are_those_that_were_injected(
    framework: str, stack: Stack, injected: dict[str, dict[str, Any]]
) -> None:
    python_of(framework)
    call, truth = stack.call_of(f"{framework}-agent"), injected[framework]
    turns = stack.rows(
        f"SELECT latency_us FROM turns WHERE call_id = '{call}' AND latency_us IS NOT NULL ORDER BY turn"
    )
    assert [t["latency_us"] / 1e6 for t in turns] == pytest.approx(truth["latency_s"], abs=WAITED_S)
    spans = stack.rows(
        f"SELECT component, latency_us FROM spans WHERE call_id = '{call}' AND turn > 0 AND latency_us IS NOT NULL"
    )
    for component in ("end_of_turn", "asr", "response", "tts"):
        found = [s["latency_us"] / 1e6 for s in spans if s["component"] == component]
        assert len(found) >= truth["turns"], component
        assert all(-BELOW_S <= f - truth[f"{component}_s"] <= ABOVE_S for f in found), (component, found)


@pytest.mark.parametrize("framework", ["pipecat", "livekit"])
def test_the_rollup_and_the_outcome_of_the_call_come_of_it(
    framework: str, stack: Stack, injected: dict[str, dict[str, Any]]
) -> None:
    python_of(framework)
    [rolled] = stack.rows("SELECT sum(n) AS n FROM latency_1m WHERE component = 'turn' AND campaign = 'spring'")
    assert int(rolled["n"]) == sum(truth["turns"] for truth in injected.values())
    [source] = stack.rows(f"SELECT * FROM sources WHERE call_id = '{stack.call_of(f'{framework}-agent')}'")
    assert (source["source"], source["said"], source["complete"]) == ("door", None, 0)
    store = ask_store(stack.store, time.time_ns() // 1000)
    assert (store.incomplete_count, store.incomplete) == (0, ())
    lines = list_calls(stack.client, Filters(campaign="spring"), objectives())
    assert {(line.complete, line.unknown) for line in lines} == {(False, True)}
    assert not list_calls(stack.client, Filters(campaign="spring", incomplete=True), objectives())
    [leaked] = stack.rows("SELECT count() AS n FROM events WHERE payload ILIKE '%thing%' OR payload ILIKE '%good%'")
    assert int(leaked["n"]) == 0


def test_livekit_s_tool_is_named_and_measured(stack: Stack, injected: dict[str, dict[str, Any]]) -> None:
    python_of("livekit")
    call, truth = stack.call_of("livekit-agent"), injected["livekit"]
    assert [t["tool"] for t in stack.rows(f"SELECT tool FROM tool_calls WHERE call_id = '{call}'")] == ["book"]
    [tool] = stack.rows(f"SELECT latency_us FROM spans WHERE call_id = '{call}' AND component = 'tool'")
    assert -BELOW_S <= tool["latency_us"] / 1e6 - truth["tool_s"] <= ABOVE_S


# ── a door that dies, and one for whom it is not ──────────────────────────────────────────────────────────────


def test_a_door_that_is_killed_in_a_call_counts_it_once(stack: Stack) -> None:
    port = free_port()
    requests = requests_at("livekit-1.8.9.jsonl", time.time_ns() // 1000)
    for request in requests:
        for one in request["resourceSpans"]:
            one["resource"] = {"attributes": [{"key": "service.name", "value": {"stringValue": "killed-agent"}}]}
    with door(stack.state, port) as process:
        for request in requests[:-1]:
            assert post(port, request) == (200, {})
        process.kill()
        process.wait(10)
    with door(stack.state, port):
        for request in requests[-2:]:  # the sender had no answer, and sends again
            assert post(port, request)[0] == 200
        call = stack.call_of("killed-agent")
        assert post(port, requests[-1])[0] == 200  # and once more, when it was told
    [row] = stack.rows(f"SELECT turns, interrupted FROM calls WHERE call_id = '{call}'")
    assert (int(row["turns"]), int(row["interrupted"])) == (3, 1)
    [twice] = stack.rows(f"SELECT count() AS n, uniqExact(seq) AS u FROM events WHERE call_id = '{call}'")
    assert twice["n"] == twice["u"]


def test_a_door_beyond_loopback_does_not_open_without_a_token(stack: Stack) -> None:
    told = turnlog(stack.state, "door", "--host", "0.0.0.0", "--port", "0")
    assert told.returncode == 2
    assert "beyond loopback ('0.0.0.0') the door wants a token: set TURNLOG_DOOR_TOKEN" in told.stderr
    port = free_port()
    with door(stack.state, port, TURNLOG_DOOR_TOKEN=TOKEN):
        assert post(port, {})[0] == 401
        assert post(port, {}, Authorization=f"Bearer {TOKEN}") == (200, {})


def test_a_door_says_what_is_in_its_way(stack: Stack, tmp_path: Path) -> None:
    told = turnlog(tmp_path, "door")
    assert told.returncode == 2
    assert "run `turnlog up`, or set it" in told.stderr
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        told = turnlog(stack.state, "door", "--port", str(port))
    assert told.returncode == 1
    assert f"the door cannot listen at 127.0.0.1:{port}" in told.stderr
