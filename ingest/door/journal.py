"""What the door has answered for, on disk, so that a door that was killed loses nothing that it took. Says no event.

One line of JSON a fact: a span that was taken, a trace that was told, a trace that was forgotten. It holds words only
when the door was told to take words; the file is for its owner alone. It is written anew when a door starts and after
calls were closed, so that their words do not stay.
"""

import contextlib
import fcntl
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from ingest.door.call import Envelope, tell
from ingest.door.limits import JOURNAL_BYTES_MAX, JOURNAL_REWRITE_S
from ingest.door.span import ForeignSpan
from ingest.door.traces import Held, Traces
from ingest.errors import IngestError

NAME = "door.journal"


class JournalUnusable(IngestError):
    """The folder of the journal cannot be written."""


class JournalHeld(IngestError):
    """Another door uses the folder."""


class _Line(msgspec.Struct, omit_defaults=True):
    span: ForeignSpan | None = None
    told: str = ""
    closed: str = ""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Line)


def _lines(lines: Iterable[_Line]) -> bytes:
    return b"".join(_ENCODER.encode(line) + b"\n" for line in lines)


def _of(trace: str, held: Held) -> Iterator[_Line]:
    """A trace that is held. Its tellings stay where they were: what is numbered again later gets the same numbers."""
    spans, start = list(held.spans.values()), 0
    for count in held.tellings:
        yield from (_Line(span=s) for s in spans[start:count])
        yield _Line(told=trace)
        start = count
    yield from (_Line(span=s) for s in spans[start:])


class Journal:
    """Append, then `sync`: what is synced outlives the process and the machine's power."""

    def __init__(
        self, folder: Path, bytes_max: int = JOURNAL_BYTES_MAX, to_disk: Callable[[int], None] = os.fsync
    ) -> None:
        self._path = folder / NAME
        self._bytes_max, self._to_disk = bytes_max, to_disk
        self._stale, self._tried_s = False, -math.inf
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._open(folder / "door.lock", "ab")
            self._file = self._open(self._path, "ab")
        except OSError as error:
            raise JournalUnusable(
                f"the door cannot keep its journal in {str(folder)!r} ({error.strerror}): "
                "make the folder writable, or set TURNLOG_STATE to another one"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise JournalHeld(
                f"another door keeps its journal in {str(folder)!r}: stop it, or set TURNLOG_STATE to another folder"
            ) from None

    @staticmethod
    def _open(path: Path, mode: str) -> IO[bytes]:
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if "a" in mode else os.O_TRUNC), 0o600), mode)

    @property
    def stale(self) -> bool:
        """Whether there may be spans in it that nobody holds any more."""
        return self._stale

    def restore(self, traces: Traces, envelope: Envelope, now_s: float) -> int:
        """Bring `traces` to where they were, and leave only what is held; the spans read.

        A line that was cut by a crash was never answered for.
        """
        count = 0
        data = self._path.read_bytes()
        if data and not data.endswith(b"\n"):
            self._file.write(b"\n")  # or the next line would be lost with the one that was cut
        for raw in data.split(b"\n"):
            try:
                line = _DECODER.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if line.span is not None:
                traces.offer(line.span, now_s)
                count += 1
            elif line.told:
                for trace, held in traces.held():
                    if trace == line.told:
                        with contextlib.suppress(Exception):  # what no map can read was dropped by whoever told it
                            tell(held.spans.values(), held.progress, envelope)  # the same events: none is new after it
                        traces.told(trace)
            elif line.closed:
                traces.close(line.closed, now_s)
        self._stale = True
        with contextlib.suppress(OSError):  # the desk tries again at its first tick, and says it
            self._rewrite(traces)
            self._tried_s = now_s
        return count

    def took(self, spans: Iterable[ForeignSpan]) -> None:
        self._file.write(_lines(_Line(span=s) for s in spans))

    def told(self, traces: Iterable[str]) -> None:
        self._file.write(_lines(_Line(told=t) for t in traces))

    def closed(self, traces: Iterable[str]) -> None:
        lines = _lines(_Line(closed=t) for t in traces)
        self._stale |= bool(lines)
        self._file.write(lines)

    def sync(self) -> None:
        self._file.flush()
        self._to_disk(self._file.fileno())

    def rewrite_if_large(self, traces: Traces) -> bool:
        """Whether it was."""
        if self._file.tell() < self._bytes_max:
            return False
        self._rewrite(traces)
        return True

    def rewrite_if_stale(self, traces: Traces, now_s: float, at_once: bool = False) -> bool:
        """Not more often than once in a while, also when the disk refuses. `at_once`: as when the door closes."""
        if not self._stale or not (at_once or now_s - self._tried_s >= JOURNAL_REWRITE_S):
            return False
        self._tried_s = now_s
        self._rewrite(traces)
        return True

    def _rewrite(self, traces: Traces) -> None:
        """Begin anew with what is still held, beside the old one, so that a crash leaves one of them whole."""
        beside = self._path.with_suffix(".new")
        try:
            with contextlib.ExitStack() as unless_it_stays:
                file = unless_it_stays.enter_context(self._open(beside, "wb"))
                file.write(_lines(_Line(closed=t) for t in traces.closed()))
                for trace, held in traces.held():
                    file.write(_lines(_of(trace, held)))
                file.flush()
                self._to_disk(file.fileno())
                beside.replace(self._path)
                unless_it_stays.pop_all()  # to open it once more might fail, and the old one has no name now
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)  # there are words in it, and the disk may be full
            raise
        old, self._file = self._file, file
        self._stale = False
        with contextlib.suppress(OSError):
            old.close()

    def close(self) -> None:
        self._file.close()
        self._lock.close()
