"""The port to the log: what who speaks needs of it, and who owns it."""

from typing import Protocol

from runtime.events import Topic


class Log(Protocol):
    def append(self, topic: Topic, key: str, value: bytes) -> None:
        """Hand one record over and return at once. Records of one key keep their order.

        Never raises into a call: what cannot be taken is counted by the adapter as dropped.
        """

    @property
    def accepts_calls(self) -> bool:
        """Whether a call may start: there is room for what must not be lost of it. Asked once, before it does."""


class DurableLog(Log, Protocol):
    """What an adapter is to the program that opened it."""

    @property
    def dropped(self) -> int:
        """Records that were not taken, because too many were waiting."""

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait for what was taken so far; the number of records that are not acknowledged."""

    def close(self, timeout_s: float = 10.0) -> int:
        """Flush and stop; the number of records that were taken and could not be delivered."""
