"""The state folder of a stack: who holds it, and what `stack.json` says of the parts. Starts and stops nothing.

The lock is the kernel's and the parts inherit it, so it is free when the supervisor and all of its parts are gone,
however they ended. The pid inside is that of the supervisor.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from deploy.errors import StackError, StackHeld
from deploy.settings import Settings
from runtime.emit import Brokers

ORPHANS_TIMEOUT_S = 20.0  # the parts of a killed supervisor are told to end by the kernel, and some flush first
_LOOK_S = 0.5
_POLL_S = 0.05
_PID_BYTES = 32


class PartState(msgspec.Struct, frozen=True):
    """One part of a stack. `since` is when it came into its state (µs, UTC), `ending` how it last ended, in words."""

    name: str
    address: str
    pid: int | None
    state: Literal["running", "waiting", "starting"]
    restarts: int
    since: int
    ending: str = ""


class Addresses(msgspec.Struct, frozen=True):
    """Where the parts of a running stack are. `metrics` is the worker's page for Prometheus; `children` are pids.

    `pid` is the supervisor's. `parts` are those that it started: a Kafka or ClickHouse of yours is not among them.
    """

    kafka: str
    clickhouse: str
    metrics: str
    pid: int
    children: dict[str, int]
    started_at: int = 0
    parts: tuple[PartState, ...] = ()
    shared: bool = False  # `turnlog up` runs it, for whoever comes; else it ends with the command that started it


def found_stack(settings: Settings) -> Addresses | None:
    """The stack that runs in the state folder, if one does."""
    addresses = read(settings.state)
    return addresses if addresses is not None and holder(settings.state) == addresses.pid else None


def servers(settings: Settings) -> tuple[Brokers | None, str | None]:
    """Brokers and the store's URL: those of the settings, else those of the stack that runs."""
    stack = found_stack(settings)
    brokers = settings.kafka or (Brokers(stack.kafka) if stack else None)
    return brokers, settings.clickhouse or (stack.clickhouse if stack else None)


def read(state: Path) -> Addresses | None:
    """What `stack.json` says, though who wrote it may be gone."""
    try:
        return msgspec.json.decode(_file(state).read_bytes(), type=Addresses)
    except PermissionError as error:
        raise unusable(state, error) from error
    except (OSError, msgspec.DecodeError):
        return None


def write(state: Path, addresses: Addresses) -> None:
    """Tell where the stack is, at once or not at all. An address may hold a password: the file is the user's own."""
    file = _file(state)
    unfinished = file.with_suffix(".new")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as new:
            new.write(msgspec.json.encode(addresses))
        unfinished.replace(file)
    except OSError as error:
        raise StackError(f"cannot write {str(file)!r}: {error.strerror}; make room, or remove what is there") from error


def is_written(state: Path, addresses: Addresses) -> bool:
    """Whether `stack.json` says this, and not something that somebody else made of it."""
    try:
        return _file(state).read_bytes() == msgspec.json.encode(addresses)
    except OSError:
        return False


def hold(state: Path, say: Callable[[str], None]) -> int:
    """Make the folder and take it; the file descriptor of its lock. Raises StackHeld or StackError.

    What a killed stack left behind is taken over, once its parts have ended.
    """
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(_lock(state), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(state, error) from error
    try:
        _take(lock, state, say)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(lock)
        raise unusable(state, error) from error
    except BaseException:
        os.close(lock)
        raise
    with contextlib.suppress(OSError):
        _file(state).unlink()
    return lock


def release(state: Path, lock: int) -> None:
    """Forget the stack and let the folder go."""
    with contextlib.suppress(OSError):
        _file(state).unlink()
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
    os.close(lock)


def put_away(state: Path) -> None:
    """Forget a stack that was killed and of which nothing runs any more."""
    with contextlib.suppress(OSError):
        _file(state).unlink()


def holder(state: Path) -> int | None:
    """The process that runs a stack in the folder."""
    pid, held = _looked(state)
    return pid if held and pid and has_lock(state, pid) else None


def is_held(state: Path) -> bool:
    """Whether a stack, or a part that outlived its supervisor, is there."""
    return _looked(state)[1]


def has_lock(state: Path, pid: int) -> bool:
    """Whether the process has the folder's lock: a pid alone may have been given to another one since."""
    try:
        wanted = _lock(state).stat()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(wanted, descriptor.stat()):
                    return True
    except PermissionError:
        return True  # somebody else's: it is there, and more is not ours to know
    except OSError:
        return not Path("/proc/self/fd").is_dir() and _exists(pid)  # no Linux: the pid has to do
    return False


def unusable(state: Path, error: OSError) -> StackError:
    return StackError(
        f"cannot use the state folder {str(state)!r}: {error.strerror}; "
        "make room, or set TURNLOG_STATE to a folder that can be written"
    )


def in_use(state: Path, pid: int) -> StackHeld:
    return StackHeld(
        f"the state folder {str(state)!r} is in use by process {pid}: "
        "`turnlog down` stops it; or set TURNLOG_STATE to another folder"
    )


def _take(lock: int, state: Path, say: Callable[[str], None]) -> None:
    """Retried: who merely looks holds it for a moment."""
    began, told = time.monotonic(), False
    while not _locked(lock, fcntl.LOCK_EX):
        pid = _pid(lock)
        if pid and has_lock(state, pid):
            raise in_use(state, pid)
        waited_s = time.monotonic() - began
        if waited_s > ORPHANS_TIMEOUT_S:
            raise StackHeld(
                f"parts of a killed stack still run in {str(state)!r}: `turnlog down` ends them; "
                "or set TURNLOG_STATE to another folder"
            )
        if waited_s > _LOOK_S and not told:
            say("waiting for the parts of a killed stack to end")
            told = True
        time.sleep(_POLL_S)


def _looked(state: Path) -> tuple[int | None, bool]:
    """The pid in the lock, and whether anybody holds it."""
    try:
        with _lock(state).open("rb") as lock:
            return _pid(lock.fileno()), not _locked(lock.fileno(), fcntl.LOCK_SH)
    except PermissionError as error:
        raise unusable(state, error) from error
    except OSError:
        return None, False


def _locked(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(lock: int) -> int | None:
    words = os.pread(lock, _PID_BYTES, 0).strip()
    return int(words) if words.isdigit() else None


def _exists(pid: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _file(state: Path) -> Path:
    return state / "stack.json"


def _lock(state: Path) -> Path:
    return state / "stack.lock"
