"""Who carries records to a broker, and what it reports. The hand-over numbers them and remembers until it hears."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from runtime.emit.outbox import Sent
from runtime.emit.port import Log
from runtime.events import Topic


class Delivered(NamedTuple):
    lane: int
    number: int


class Refused(NamedTuple):
    """No broker would ever take this one."""

    lane: int
    number: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The courier gave up with records in hand. It carries nothing before `renew`."""


Report = Callable[[Delivered | Refused | Lost], None]


class Courier(Protocol):
    """Carries the records of a lane in their order: none is appended to the log behind one that failed."""

    def send(self, lane: int, sent: Sequence[Sent]) -> None:
        """Returns at once."""

    def renew(self) -> None:
        """Begin anew: what was sent before is forgotten, and will be sent again."""

    def close(self) -> None:
        """Returns at once, and reports no more than what is already known."""


class LogCourier:
    """Carries into another log, which takes everything at once: one in memory."""

    def __init__(self, log: Log, report: Report) -> None:
        self._log, self._report = log, report

    def send(self, lane: int, sent: Sequence[Sent]) -> None:
        for number, record in sent:
            self._log.append(Topic(record.topic), record.key, record.value)
            self._report(Delivered(lane, number))

    def renew(self) -> None:
        """It is never lost."""

    def close(self) -> None:
        """Nothing is open."""
