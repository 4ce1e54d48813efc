"""Runs `turnlog` as a user does, in a state folder of its own; hurts it at a known moment; compares two runs."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.embedded import Addresses, found_stack
from deploy.settings import Settings
from runtime.emit import MemoryLog
from runtime.events import Topic

TURNLOG = (sys.executable, "-P", "-m", "deploy")


def environment(state: Path, **more: str) -> dict[str, str]:
    """Ours, with the state folder and without addresses of the machine's own servers."""
    kept = {k: v for k, v in os.environ.items() if k not in ("KAFKA_BOOTSTRAP_SERVERS", "CLICKHOUSE_URL")}
    return {**kept, "TURNLOG_STATE": str(state), **more}


def turnlog(state: Path, *arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*TURNLOG, *arguments],
        env=environment(state, **more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def posted(port: int, body: str, path: str = "/v1/traces", **headers: str) -> tuple[int, str]:
    """What a door on loopback answers to this JSON: the status, and the text."""
    sent = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", body.encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(sent, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def stack_up(state: Path) -> Iterator[Addresses]:
    """A stack in the background in this state folder, as `turnlog up` starts it: every command there uses it."""
    told = turnlog(state, "up", "--detach")
    assert told.returncode == 0, told.stderr
    try:
        found = found_stack(Settings(state))
        assert found is not None
        yield found
    finally:
        turnlog(state, "down")


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what is fresh on every run: ids, names and wall time. Calls are known by their numbers."""
    number = {i["call_id"]: i["number"] for i in result["injected"]}
    report = {k: v for k, v in result["report"].items() if k != "campaign"}
    report["breaches"] = sorted(
        ({**b, "call_id": number.get(b["call_id"], "not injected")} for b in report["breaches"]), key=json.dumps
    )
    injected = [{k: v for k, v in i.items() if k != "call_id"} for i in result["injected"]]
    return {"seed": result["seed"], "clock": result["clock"], "injected": injected, "report": report}


class Striking(MemoryLog):
    """A log that does something to the stack as the n-th record of the calls topic passes: no moment is guessed."""

    def __init__(self, strikes: dict[int, Callable[[], None]]) -> None:
        super().__init__()
        self._strikes, self._calls = strikes, 0

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        super().append(topic, key, value)
        if topic is Topic.CALLS:
            self._calls += 1
            if strike := self._strikes.pop(self._calls, None):
                strike()
