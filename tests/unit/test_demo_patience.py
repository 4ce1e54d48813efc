"""How long a demo waits for what can still arrive, by a made-up clock; and what it says of the parts meanwhile."""

import itertools
from collections.abc import Callable, Iterator

import msgspec
import pytest

from deploy.demo.arrival import SETTLED_S, STALL_S, answered, arrived
from deploy.demo.ground import news
from deploy.embedded import PartState
from deploy.errors import StackError
from ingest.errors import StoreUnreachable

RUNS = PartState("broker", "127.0.0.1:1", 10, "running", 0, 100)
WAITS = PartState("broker", "127.0.0.1:1", None, "waiting", 0, 200, "was killed by signal 9")
STARTS = msgspec.structs.replace(WAITS, state="starting", restarts=1, since=300, pid=11)
AGAIN = msgspec.structs.replace(STARTS, state="running", since=400)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def rest(self, seconds: float) -> None:
        self.now += seconds


def waited(stored: Callable[[float], tuple[int, bool]], backlog: Callable[[float], int | None]) -> float:
    """The seconds that the wait took, when store and broker answer so at such a time."""
    clock = Clock()
    asks = (lambda: stored(clock.now)), (lambda: backlog(clock.now))
    arrived(*asks, lambda: None, lambda _: None, clock=clock, rest=clock.rest)
    return clock.now


def test_the_wait_is_over_as_soon_as_all_is_there() -> None:
    assert waited(lambda now: (10, now >= 3), lambda _: 7) == pytest.approx(3, abs=0.3)


def test_nothing_more_comes_when_the_workers_have_stored_the_whole_log() -> None:
    assert waited(lambda _: (10, False), lambda _: 0) == pytest.approx(SETTLED_S, abs=0.3)


def test_who_makes_progress_is_waited_for() -> None:
    """An event a minute for an hour, and then silence."""
    took_s = waited(lambda now: (int(min(now, 3600) // 50), False), lambda _: 7)
    assert took_s == pytest.approx(3600 + STALL_S, abs=51)


@pytest.mark.parametrize("backlog", [None, 7])
def test_silence_ends_the_wait_though_the_log_holds_more_or_nobody_knows(backlog: int | None) -> None:
    assert waited(lambda _: (10, False), lambda _: backlog) == pytest.approx(STALL_S, abs=0.3)


def test_the_time_that_the_store_is_away_is_not_held_against_the_worker() -> None:
    def stored(now: float) -> tuple[int, bool]:
        if 1 < now < STALL_S:
            raise StoreUnreachable("away")
        return (10, now >= STALL_S + SETTLED_S - 2)

    assert waited(stored, lambda _: 0) == pytest.approx(STALL_S + SETTLED_S - 2, abs=0.3)


def test_a_store_that_stays_away_is_an_error() -> None:
    clock = Clock()

    def away() -> int:
        raise StoreUnreachable("nobody answers")

    with pytest.raises(StackError, match="nobody answers"):
        answered(away, lambda: None, clock=clock, rest=clock.rest)
    assert clock.now == pytest.approx(STALL_S, abs=0.5)


def steps(*parts: PartState) -> Iterator[list[str]]:
    for before, now in itertools.pairwise(parts):
        yield news([before], [now])


def test_a_death_and_a_return_are_told_once() -> None:
    assert list(steps(RUNS, RUNS, WAITS, WAITS, STARTS, AGAIN, AGAIN)) == [
        [],
        ["the broker was killed by signal 9; it is started again"],
        [],
        [],
        ["the broker runs again"],
        [],
    ]


def test_what_happened_between_two_looks_is_told_too() -> None:
    assert list(steps(RUNS, AGAIN)) == [["the broker was killed by signal 9, and runs again"]]


def test_a_start_that_fails_is_told() -> None:
    fails = msgspec.structs.replace(STARTS, state="waiting", since=500, pid=None, ending="ended with code 1")
    assert list(steps(STARTS, fails)) == [["the broker ended with code 1; it is started again"]]
