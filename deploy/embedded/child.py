"""One child process: started, watched, stopped, its last words kept. Knows nothing of what it runs."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path

from deploy.errors import StackError

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 12.0
_LAST_LINES = 12
_POLL_S = 0.05
# Linux ends a child whose parent was killed; elsewhere a killed parent leaves its children behind. The child asks for
# that itself, before it becomes what it shall be: a function between fork and exec would have every library's hooks
# for a fork run first, and OpenTelemetry's waits for a thread that is not there any more.
_LAUNCH = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # what is on loopback is behind no proxy


def _inherited() -> dict[str, str]:
    """Without what is meant for spans of calls: the broker has an exporter of its own, and would use it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}


def _launched(argv: Sequence[str]) -> list[str]:
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *argv]


class Child:
    """A process whose output goes to `log`. Start it from the main thread: it ends when its starting thread does."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, **environment: str) -> None:
        self.name, self._argv, self._log = name, list(argv), log
        self._environment = environment  # for what `ps` may not show
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = (self._process.poll() if self._process else None) or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"the {self.name} {how}; its log is {self._log}:\n{self.last_lines()}"

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own programs, no shell
                _launched(self._argv),
                env={**_inherited(), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
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
                    f"its log is {self._log}:\n{self.last_lines()}"
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

    def last_lines(self) -> str:
        """The end of its log, indented."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        except OSError:
            lines = []
        return "\n".join(f"    {line}" for line in lines) or "    (it said nothing)"


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether something listens on the loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False


def answers_http(url: str) -> bool:
    """Whether a GET of the loopback URL succeeds."""
    try:
        with _direct.open(url, timeout=2.0) as reply:
            return bool(reply.status == HTTPStatus.OK)
    except (OSError, HTTPException):
        return False
