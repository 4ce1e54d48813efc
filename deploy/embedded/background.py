"""Starts a stack that outlives who starts it, and stops the stack of a state folder. Keeps nothing running itself."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from deploy.embedded.child import STOP_TIMEOUT_S, last_lines, rotate
from deploy.embedded.plan import OURS
from deploy.embedded.state import (
    ORPHANS_TIMEOUT_S,
    Addresses,
    found_stack,
    has_lock,
    holder,
    in_use,
    is_held,
    put_away,
    read,
    unusable,
)
from deploy.embedded.supervise import READY_TIMEOUT_S
from deploy.errors import StackError
from deploy.settings import Settings

STACK_LOG = "stack.log"
START_TIMEOUT_S = 3 * READY_TIMEOUT_S + ORPHANS_TIMEOUT_S
END_TIMEOUT_S = 3 * STOP_TIMEOUT_S + 10.0
KILLED_TIMEOUT_S = 5.0
_POLL_S = 0.1


class Stopped(msgspec.Struct, frozen=True):
    """What was stopped: the supervisor and its parts, by pid. `forced` when somebody had to be killed."""

    pid: int | None
    parts: dict[str, int]
    forced: bool


def start_detached(settings: Settings, options: Sequence[str], say: Callable[[str], None]) -> Addresses:
    """Run `turnlog up` with these options in a session of its own, and wait until it is ready. Raises StackError."""
    state = settings.state
    running = holder(state)
    if running is not None:
        raise in_use(state, running)
    log = state / "logs" / STACK_LOG
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        log.parent.mkdir(exist_ok=True)
        rotate(log)
        with log.open("ab") as output:
            since = output.tell()
            process = subprocess.Popen(  # noqa: S603  our own program, no shell
                [*OURS, "up", *options], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
    except OSError as error:
        raise unusable(state, error) from error
    try:
        return _ready(settings, process, log, since, say)
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _ready(
    settings: Settings, process: "subprocess.Popen[bytes]", log: Path, since: int, say: Callable[[str], None]
) -> Addresses:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        found = found_stack(settings)
        if found is not None and found.pid == process.pid:
            return found
        said = last_lines(log, since)
        if process.poll() is not None:
            raise StackError(f"the stack did not start; its log is {log}:\n{said}")
        if time.monotonic() > deadline:
            raise StackError(f"the stack did not start in {START_TIMEOUT_S:g} s; its log is {log}:\n{said}")
        say(said.splitlines()[-1].strip())
        time.sleep(_POLL_S)


def stop_running(settings: Settings, say: Callable[[str], None]) -> Stopped | None:
    """Stop the stack of the state folder and wait for its end; None when there is none.

    Who does not end is killed: first the supervisor, whose parts then end by themselves on Linux, then the parts.
    Raises StackError when that does not help either.
    """
    state = settings.state
    if not is_held(state):
        put_away(state)
        return None
    pid, left = holder(state), read(state)
    parts = dict(left.children) if left is not None else {}
    supervisor = {} if pid is None else {"supervisor": pid}
    steps = (
        (signal.SIGTERM, supervisor, END_TIMEOUT_S if supervisor else 0.0),
        (signal.SIGKILL, supervisor, 0.0),
        (signal.SIGTERM, parts, ORPHANS_TIMEOUT_S),
        (signal.SIGKILL, parts, KILLED_TIMEOUT_S),
    )
    for number, whom, patience_s in steps:
        _send(state, number, whom)
        if _freed(state, supervisor | parts, patience_s, say):
            put_away(state)
            return Stopped(pid, parts, forced=number is signal.SIGKILL or whom is parts)
    raise StackError(
        f"the stack in {str(state)!r} does not end: processes "
        f"{_named(state, supervisor | parts) or 'of other names'} keep its lock {str(state / 'stack.lock')!r}"
    )


def _send(state: Path, number: signal.Signals, whom: Mapping[str, int]) -> None:
    for name, pid in whom.items():
        if has_lock(state, pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # it was quicker
            except PermissionError as error:
                raise StackError(f"the {name} is process {pid} of another user: ask them to stop it") from error


def _freed(state: Path, whom: Mapping[str, int], patience_s: float, say: Callable[[str], None]) -> bool:
    deadline = time.monotonic() + patience_s
    while is_held(state):
        if time.monotonic() > deadline:
            return False
        say(f"waiting for {_named(state, whom)}")
        time.sleep(_POLL_S)
    return True


def _named(state: Path, whom: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({pid})" for name, pid in whom.items() if has_lock(state, pid))
