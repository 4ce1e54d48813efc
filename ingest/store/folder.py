"""The folder of an embedded store: what marks it, and the lock that one process holds on it. Opens no database."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ingest.errors import StoreHeld, StoreUnusable
from ingest.store.credentials import FILE as CREDENTIALS

FORMAT = 1
MARK = "store.json"
LOCK = "store.lock"
HELD = "is open in process"  # said by whom the lock refuses


@contextmanager
def held(path: Path) -> Iterator[Path]:
    """Makes or takes the store at `path` and holds it; gives its absolute path.

    The lock is the kernel's, so it falls with its process however that ends; the pid inside is for the message.
    Raises StoreHeld, or StoreUnusable for a folder that is full, not writable or something else.
    """
    path = path.absolute()
    if set("?&#%") & set(str(path)):
        raise StoreUnusable(f"the store's folder {str(path)!r} must not contain any of ? & # %: choose another name")
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _recognise(path)
        path.chmod(0o700)  # words lie here, and older versions left the folder open to all
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        _take(path, lock)
        yield path
    finally:
        os.close(lock)


def _recognise(path: Path) -> None:
    """A folder is ours when it is empty or marked; anything else is somebody's work."""
    mark = path / MARK
    if not mark.exists():
        if any(not entry.name.startswith((LOCK, CREDENTIALS)) for entry in path.iterdir()):
            raise StoreUnusable(f"{str(path)!r} holds other things and is no store: name an empty or a new folder")
        return
    found = None
    with suppress(ValueError, AttributeError):
        found = json.loads(mark.read_text(encoding="utf-8")).get("format")
    if found is None:
        raise StoreUnusable(f"{str(mark)!r} is damaged: restore it, or name another folder")
    if found != FORMAT:
        raise StoreUnusable(
            f"{str(mark)!r} says format {found!r}, this version reads {FORMAT}: upgrade turnlog, or name another folder"
        )


def _take(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        raise StoreHeld(f"the store in {str(path)!r} {HELD} {pid}: use its address, or stop that process") from None
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        if not (path / MARK).exists():
            unfinished = path / f"{LOCK}.new"
            unfinished.write_text(json.dumps({"format": FORMAT}) + "\n", encoding="utf-8")
            unfinished.rename(path / MARK)
    except OSError as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: OSError) -> StoreUnusable:
    return StoreUnusable(f"cannot use {str(path)!r} for the store: {error.strerror}. Make room or name another folder")
