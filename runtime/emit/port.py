"""The port to the log: one method."""

from typing import Protocol

from runtime.events import Topic


class Log(Protocol):
    def append(self, topic: Topic, key: str, value: bytes) -> None:
        """Hand one record over and return at once. Records of one key keep their order.

        Never raises into a call: what cannot be taken is counted by the adapter as dropped.
        """
