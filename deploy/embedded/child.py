"""One child process: started, watched, stopped, its last words kept. Knows nothing of what it runs."""

import contextlib
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Sequence
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path

from deploy.embedded.supervise import READY_TIMEOUT_S
from deploy.errors import StackError

STOP_TIMEOUT_S = 12.0
LOG_BYTES_MAX = 5_000_000
# Below what systems give to outgoing connections: a client that keeps trying a dead port there may meet itself on it,
# and the part cannot come back.
PORTS = range(20_000, 32_000)
_NOT_INHERITED = ("OTEL_", "KAFKA_", "CLICKHOUSE_", "TURNLOG_MODEL_")
_LAST_LINES = 12
_LAST_BYTES = 16_384
_POLL_S = 0.05
# Linux ends a child whose parent was killed; elsewhere a killed parent leaves its children behind. The child asks for
# that itself, before it becomes what it shall be: a function between fork and exec would have every library's hooks
# for a fork run first, and OpenTelemetry's waits for a thread that is not there any more.
_LAUNCH = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # what is on loopback is behind no proxy


def _inherited() -> dict[str, str]:
    """Without secrets, which a part gets by name if it needs them, and without what is meant for spans of calls: the
    broker has an exporter of its own, and would use it.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}


def _launched(argv: Sequence[str]) -> list[str]:
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *argv]


class Child:
    """A process whose output goes to `log`. It ends when the thread that starts it does.

    It inherits the file descriptors of `keep`. What `log` holds already stays, up to LOG_BYTES_MAX of it.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, keep: Sequence[int] = (), **environment: str) -> None:
        self.name, self.log = name, log
        self._argv, self._keep = list(argv), tuple(keep)
        self._environment = environment  # for what `ps` may not show
        self._process: subprocess.Popen[bytes] | None = None
        self._told_from = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def how(self) -> str:
        """How it ended, in words."""
        code = (self._process.poll() if self._process else None) or 0
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"

    @property
    def ending(self) -> str:
        """How it ended, where its log is, and its last lines."""
        return f"the {self.name} {self.how}; its log is {self.log}:\n{self.last_lines()}"

    def start(self) -> None:
        self._process = None
        rotate(self.log)
        with self.log.open("ab") as log:
            self._told_from = log.tell()
            self._process = subprocess.Popen(  # noqa: S603  our own programs, no shell
                _launched(self._argv),
                env={**_inherited(), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._keep,
                start_new_session=True,  # Ctrl-C reaches us, and we stop the children in order
            )

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Return when `ready` says so. Raises StackError with the child's last lines when it ends or takes too long."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not ready():
            if not self.alive:
                raise StackError(f"the {self.name} ended while it was starting:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"the {self.name} is not ready after {READY_TIMEOUT_S:g} s; "
                    f"its log is {self.log}:\n{self.last_lines()}"
                )
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Ask it to end, and end it when it does not."""
        if self._process is None:
            return
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """End it at once, and do not wait: what the kernel holds may take its time."""
        if self._process is not None:
            self._process.kill()

    def last_lines(self) -> str:
        """The end of what it said since it was started, indented."""
        return last_lines(self.log, self._told_from)


def last_lines(log: Path, since: int = 0) -> str:
    """The end of what a log holds beyond `since` bytes, indented; or of all of it, when it was rotated meanwhile."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= size else 0, size - _LAST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        lines = []
    return "\n".join(f"    {line}" for line in lines) or "    (it said nothing)"


def rotate(log: Path) -> None:
    """Keep a log within bounds: beyond LOG_BYTES_MAX it becomes `.1`. By a copy, since who writes it has it open."""
    with contextlib.suppress(OSError):  # it is not there yet; or the disk is full, and then it grows no more
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def free_port(but: Collection[int] = ()) -> int:
    """A loopback port that was free a moment ago, and none of `but`."""
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if port not in but and not taken(port):
            return port
    raise StackError(f"no loopback port in {PORTS.start} to {PORTS.stop} is free: end what listens there")


def taken(port: int) -> str:
    """Why a listener may not have the loopback port; '' when it may."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are over do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror or type(error).__name__
    return ""


def answers(port: int) -> bool:
    """Whether something listens on the loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False


def answers_kafka(port: int) -> bool:
    """Whether a broker on the loopback port answers: for a broker that hangs, the kernel still takes connections."""
    api_versions, version, correlation, no_client = 18, 0, 1, -1
    asked = struct.pack(">hhih", api_versions, version, correlation, no_client)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
            connection.sendall(struct.pack(">i", len(asked)) + asked)
            return len(connection.recv(1)) == 1
    except OSError:
        return False


def answers_http(url: str) -> bool:
    """Whether a GET of the loopback URL succeeds."""
    try:
        with _direct.open(url, timeout=2.0) as reply:
            return bool(reply.status == HTTPStatus.OK)
    except (OSError, HTTPException):
        return False
