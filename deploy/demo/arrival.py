"""Waits until the store holds what the calls said, or until nothing more of it can come. Computes no figure."""

import time
from collections.abc import Callable
from typing import TypeVar

from deploy.errors import StackError
from ingest.errors import StoreUnreachable
from runtime.emit import DurableLog

STALL_S = 60.0  # a killed worker's partitions are given away after its session of 6 s
SETTLED_S = 5.0  # without progress, when the workers have stored all that the log holds
DELIVERY_S = 60.0
_FLUSH_S = 2.0
_POLL_S = 0.2

Answer = TypeVar("Answer")


def delivered(log: DurableLog, check: Callable[[], None]) -> int:
    """Wait until the broker has taken or refused every record; how many it did not take."""
    deadline = time.monotonic() + DELIVERY_S
    while True:
        began = time.monotonic()
        lost = log.flush(_FLUSH_S)
        check()
        now = time.monotonic()
        if now - began < _FLUSH_S or now > deadline:
            return lost + log.dropped


def answered(ask: Callable[[], Answer], check: Callable[[], None]) -> Answer:
    """The store's answer, once there is one: it may be away for a while. Raises StackError when it stays away."""
    deadline = time.monotonic() + STALL_S
    while True:
        check()
        try:
            return ask()
        except StoreUnreachable as error:
            if time.monotonic() > deadline:
                raise StackError(f"the store does not answer any more: {error}") from error
        time.sleep(_POLL_S)


def arrived(
    stored: Callable[[], tuple[int, bool]],
    backlog: Callable[[], int | None],
    check: Callable[[], None],
    tell: Callable[[int], None],
) -> None:
    """Return when the store holds everything, or nothing more can come.

    `stored` gives the events in the store and whether that is all of them, `backlog` the records that the workers have
    yet to store, None when nobody knows.
    """
    last, quiet_s = -1, 0.0
    looked = time.monotonic()
    while True:
        quiet_s += time.monotonic() - looked
        now, whole = answered(stored, check)
        looked = time.monotonic()  # the time that the store takes is not held against the worker
        tell(now)
        if whole:
            return
        if now != last:
            last, quiet_s = now, 0.0
        if quiet_s > STALL_S or (quiet_s > SETTLED_S and backlog() == 0):
            return
        time.sleep(_POLL_S)
