"""The folder in which the processes of one installation spool: a place for each, and what dead ones left there.

Places are folders `0`, `1`, …; a process has the lowest that is free, by a lock of the kernel's that ends with it. So
one that starts again finds what it left. What lies in places that nobody holds is taken over by whoever starts next.
"""

import errno
import fcntl
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from runtime.emit.disk import FILE_MODE, FOLDER_MODE, Disk
from runtime.emit.errors import SpoolUnusable
from runtime.emit.spool import FACTS, WORDS, Room, Spool
from runtime.events import Loss

PLACES_MAX = 64  # processes with one folder
_log = logging.getLogger(__name__)


class SpoolFolder:
    """This process's place. Raises SpoolUnusable with what to do."""

    def __init__(
        self,
        path: Path,
        *,
        facts: Room = FACTS,
        words: Room = WORDS,
        wall: Callable[[], float] = time.time,
        disk: Disk | None = None,
    ) -> None:
        self._path, self._disk = path, disk or Disk()
        self._rooms, self._wall = (facts, words), wall
        try:
            path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            path.chmod(FOLDER_MODE)
            place, self._lock = self._free_place()
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            self.facts, self.words = self._open(place)
        except OSError as error:
            os.close(self._lock)
            raise _unusable(path, error) from error
        self._adopt(place)

    def close(self) -> None:
        """The place is free for the next process, with what is left in it."""
        self.facts.close()
        self.words.close()
        os.close(self._lock)

    def _open(self, place: Path) -> tuple[Spool, Spool]:
        facts, words = self._rooms
        opened = Spool(place, "facts", facts, self._wall, self._disk)
        try:
            return opened, Spool(place, "words", words, self._wall, self._disk)
        except OSError:
            opened.close()
            raise

    def _free_place(self) -> tuple[Path, int]:
        for number in range(PLACES_MAX):
            place = self._path / str(number)
            place.mkdir(mode=FOLDER_MODE, exist_ok=True)
            if (lock := _locked(place)) is not None:
                return place, lock
        raise OSError(errno.EUSERS, f"{PLACES_MAX} processes use it already")

    def _adopt(self, own: Path) -> None:
        """Take over what lies in places that nobody holds; what has no room here stays there."""
        for place in sorted(self._path.iterdir()):
            if place == own or not place.name.isdigit() or (lock := _locked(place)) is None:
                continue
            try:
                if any(place.glob("*-*.log")):
                    self._take_over(place)
            except OSError as error:
                _log.warning("a spool of a process that is gone stays where it is: %s", error.strerror)
            finally:
                os.close(lock)

    def _take_over(self, place: Path) -> None:
        whole = True
        for left, own in zip(self._open(place), (self.facts, self.words), strict=True):
            taken = []
            while whole and (spooled := left.read()) is not None:
                outcome = own.put(spooled.record, spooled.kind, own.next_number, at_ms=spooled.at_ms)
                if isinstance(outcome, Loss):
                    whole = False
                else:
                    taken.append(spooled)
                    own.found[spooled.kind] += 1
            own.sync()
            for spooled in taken:
                left.done(spooled.segment, spooled.kind)
            own.dropped += left.dropped
            own.found += Counter({kind: n for (kind, _), n in left.dropped.items()})
            left.close()
        if whole:
            for reserved in place.glob("reserve-*.log"):
                self._disk.remove(reserved)


def _locked(place: Path) -> int | None:
    """Holds the place until it is closed, or until the process ends; none when another one does."""
    lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _unusable(path: Path, error: OSError) -> SpoolUnusable:
    return SpoolUnusable(
        f"records that wait for the broker have no place in {str(path)!r} ({error.strerror or error}): "
        "give it to this user, with room on its disk, or name another folder"
    )
