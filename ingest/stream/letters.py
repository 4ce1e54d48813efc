"""Dead letters: why and where from on one topic, the bytes on another, because bytes may be words."""

import hashlib
from collections.abc import Sequence

import msgspec

from ingest.effects import Dead
from ingest.errors import IngestError
from runtime.emit import DurableLog
from runtime.events import Topic

LETTERS_PER_FLUSH_MAX = 5_000  # two records each; the log's hand-over holds 20,000 and drops what is beyond
CONTENT_BYTES_MAX = 900_000  # our key is longer than the record's own, and a broker takes 1 MB with it
_FLUSH_TIMEOUT_S = 30.0


class LettersLost(IngestError):
    """The broker did not take the dead letters, so their records must not be committed."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A record of the dead-letter topic. Its key, `topic/partition/offset@log`, finds the bytes beside it.

    `size` and `sha256` are of all bytes; of those kept, what is beyond CONTENT_BYTES_MAX is cut off.
    """

    reason: str
    detail: str
    topic: str
    log: str
    partition: int
    offset: int
    size: int
    sha256: str
    at: int  # µs since 1970, when it was buried


class DeadLetters:
    """Buries records durably. A record that is buried twice has the same key and the same hash both times."""

    def __init__(self, log: DurableLog) -> None:
        self._log = log

    def bury(self, topic: str, log: str, partition: int, letters: Sequence[Dead], now_us: int) -> None:
        """Returns when the broker holds them all. Raises LettersLost."""
        for start in range(0, len(letters), LETTERS_PER_FLUSH_MAX):
            self._bury(topic, log, partition, letters[start : start + LETTERS_PER_FLUSH_MAX], now_us)

    def _bury(self, topic: str, log: str, partition: int, letters: Sequence[Dead], now_us: int) -> None:
        dropped = self._log.dropped
        for dead in letters:
            key = f"{topic}/{partition}/{dead.offset}@{log}"
            digest = hashlib.sha256(dead.value).hexdigest()
            letter = DeadLetter(dead.reason, dead.detail, topic, log, partition, dead.offset, dead.size, digest, now_us)
            self._log.append(Topic.DEAD_CONTENT, key, dead.value[:CONTENT_BYTES_MAX])
            self._log.append(Topic.DEAD_LETTERS, key, msgspec.json.encode(letter))
        if self._log.flush(_FLUSH_TIMEOUT_S) or self._log.dropped > dropped:
            raise LettersLost(
                f"the broker did not take {len(letters)} dead letters of {topic} in {_FLUSH_TIMEOUT_S:g} s; "
                "their records stay uncommitted: see that it runs, then start the worker again"
            )
