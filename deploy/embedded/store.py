"""The embedded store alone, for as long as somebody asks. Knows nothing of a stack."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.embedded.child import Child, answers_http, free_port
from deploy.embedded.plan import OURS, require


@contextmanager
def running_store(folder: Path) -> Iterator[str]:
    """The URL of the embedded store in `folder`, which runs inside. Raises StackError with its last lines."""
    require("chdb", "the embedded store")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="turnlog-") as room:  # reading must not need a state folder to write to
        child = Child("store", [*OURS, "store", "--path", str(folder), "--port", str(port)], Path(room) / "store.log")
        child.start()
        try:
            child.wait_ready(lambda: answers_http(f"http://127.0.0.1:{port}/ping"))
            yield f"http://127.0.0.1:{port}"
        finally:
            child.stop()
