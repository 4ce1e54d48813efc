"""What the door has answered for, on disk, so that a door that was killed loses nothing that it took. Says no event.

One line of JSON a fact: a span that was taken, a trace that was told, a trace that was forgotten. It holds words only
when the door was told to take words; the file is for its owner alone.
"""

import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import msgspec

from ingest.door.call import Envelope, tell
from ingest.door.limits import JOURNAL_BYTES_MAX
from ingest.door.span import ForeignSpan
from ingest.door.traces import Traces
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


class Journal:
    """Append, then `sync`: what is synced outlives the process and the machine's power."""

    def __init__(
        self, folder: Path, bytes_max: int = JOURNAL_BYTES_MAX, to_disk: Callable[[int], None] = os.fsync
    ) -> None:
        self._path = folder / NAME
        self._bytes_max, self._to_disk = bytes_max, to_disk
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

    def restore(self, traces: Traces, envelope: Envelope, now_s: float) -> int:
        """Bring `traces` to where they were; the spans read. A line that was cut by a crash was never answered for."""
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
                        tell(held.spans.values(), held.progress, envelope)  # the same events: none is new after this
                        held.fresh = False
            elif line.closed:
                traces.close(line.closed, now_s)
        return count

    def took(self, spans: Iterable[ForeignSpan]) -> None:
        self._file.write(_lines(_Line(span=s) for s in spans))

    def told(self, traces: Iterable[str]) -> None:
        self._file.write(_lines(_Line(told=t) for t in traces))

    def closed(self, traces: Iterable[str]) -> None:
        self._file.write(_lines(_Line(closed=t) for t in traces))

    def sync(self) -> None:
        self._file.flush()
        self._to_disk(self._file.fileno())

    def rewrite_if_large(self, traces: Traces) -> bool:
        """Begin anew with what is still held, beside the old one, so that a crash leaves one of them whole."""
        if self._file.tell() < self._bytes_max:
            return False
        beside = self._path.with_suffix(".new")
        with self._open(beside, "wb") as file:
            file.write(_lines(_Line(closed=t) for t in traces.closed()))
            for trace, held in traces.held():
                file.write(_lines(_Line(span=s) for s in held.spans.values()))
                if not held.fresh:
                    file.write(_lines([_Line(told=trace)]))
            file.flush()
            self._to_disk(file.fileno())
        beside.replace(self._path)
        old, self._file = self._file, self._open(self._path, "ab")
        old.close()
        return True

    def close(self) -> None:
        self._file.close()
        self._lock.close()
