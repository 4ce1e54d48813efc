"""The embedded store alone, for as long as somebody asks. Knows nothing of a stack."""

import fcntl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from deploy.embedded.child import Child, answers_http, free_port
from deploy.embedded.plan import OURS, require
from deploy.errors import StackError
from ingest.store.credentials import Role, kept
from ingest.store.folder import HELD, LOCK

WAIT_S = 20.0  # for another question to be answered
_POLL_S = 0.1


@contextmanager
def running_store(
    folder: Path, say: Callable[[str], None] = lambda _: None, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The writer's URL of the embedded store in `folder`, which runs inside. Who has it open is waited for, for WAIT_S.

    `environment` tells it of brokers, without which nobody reads words. Raises StackError with its last lines.
    """
    require("chdb", "the embedded store")
    deadline = time.monotonic() + WAIT_S
    with tempfile.TemporaryDirectory(prefix="turnlog-") as room:  # reading must not need a state folder to write to
        while True:
            _wait_for(folder, deadline, say)
            port = free_port()
            argv = [*OURS, "store", "--path", str(folder), "--port", str(port)]
            child = Child("store", argv, Path(room) / "store.log", (), **(environment or {}))
            child.start()
            try:
                child.wait_ready(partial(answers_http, f"http://127.0.0.1:{port}/ping"))
            except StackError as error:
                child.stop()
                if time.monotonic() < deadline and (HELD in str(error) or _open_elsewhere(folder)):
                    continue  # somebody was quicker, and may have ended since
                raise
            try:
                yield kept(folder).url(Role.WRITER, f"http://127.0.0.1:{port}")
            finally:
                child.stop()
            return


def _wait_for(folder: Path, deadline: float, say: Callable[[str], None]) -> None:
    told = False
    while _open_elsewhere(folder) and time.monotonic() < deadline:
        if not told:
            say("waiting for the store, which is open elsewhere")
        told = True
        time.sleep(_POLL_S)


def _open_elsewhere(folder: Path) -> bool:
    """Whether a process holds the store's lock. Who opens it then is refused for good."""
    with suppress(OSError), (folder / LOCK).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
