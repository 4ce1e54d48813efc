"""What may happen between a producer and the tables, each as one function: it lets it happen, and tells how the tables
then differ from what was said (`said.faults`: counts, completeness and quantiles, computed from the produced events).
"""

import errno
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingest.partition import Limits
from ingest.replay import rebuild
from tests.contract.ground import EPOCH_RECORDS, House, house_on, until
from tests.contract.processes import Store
from tests.contract.said import SECOND_US, calls, faults

Record = tuple[str, bytes]
MINUTE_US, DAY_US = 60 * SECOND_US, 86_400 * SECOND_US
RECORDS = "turnlog_ingest_records_total"
RETRIES = "turnlog_ingest_retries_total"
CALLS = 25  # of a case: about four hundred records, nine epochs
DOWN_S = 30.0
DISK_BYTES = 192 * 2**20  # of the small disk: an empty store takes about 30 MB of it


@dataclass(frozen=True)
class Case:
    """`run` gets a house (or, with `store`, the stage to build one on) and a source of chance."""

    name: str
    run: Callable[..., list[str]]
    ground: str = "apache-faust"
    store: bool = False  # it hurts the store, so it needs one of its own
    rebuilt: bool = False  # its tables are built anew and compared also where time is short


CASES: list[Case] = []


def case(
    ground: str = "apache-faust", store: bool = False, rebuilt: bool = False
) -> Callable[[Callable[..., list[str]]], Callable[..., list[str]]]:
    def add(run: Callable[..., list[str]]) -> Callable[..., list[str]]:
        CASES.append(Case(run.__name__, run, ground, store, rebuilt))
        return run

    return add


def some(r: random.Random, count: int = CALLS, **more: object) -> list[Record]:
    return calls(count, seed=r.randrange(2**32), **more)


def _counted(worker: object) -> float:
    """Records that it has stored; 0 while it cannot be asked."""
    try:
        return worker.counted(RECORDS)  # type: ignore[attr-defined]
    except OSError:
        return 0.0


# ── who is killed ─────────────────────────────────────────────────────────────────────────────────────────────


@case()
def worker_killed_at_random_points(house: House, r: random.Random) -> list[str]:
    said = some(r)
    house.broker.produce(said)
    for _ in range(3):
        worker = house.worker(flush=r.choice([20, 35, 50]))
        enough = r.randrange(1, len(said) // 3)
        until(
            lambda w=worker, n=enough: _counted(w) >= n or not w.alive or house.broker.committed() == house.broker.ends,
            f"it has stored {enough}",
            worker.words,
        )
        worker.kill()
    house.worker()
    house.read()
    return faults(house.url, said)


@case()
def second_worker_joins_and_dies(house: House, r: random.Random) -> list[str]:
    said = some(r)
    half = len(said) // 2
    first = house.worker(flush=20)
    house.broker.produce(said[:half])
    until(lambda: _counted(first) > 0, "the first stores", first.words)
    second = house.worker(flush=20)
    more: list[Record] = []

    def shared() -> bool:
        if house.broker.committed() == house.broker.ends:  # not faster than they read
            fresh = some(r, 4)
            more.extend(fresh)
            house.broker.produce(fresh)
        return second.said("took up") and _counted(second) > 0

    until(shared, "the second has a part of them, and stores", second.words)
    house.broker.produce(said[half:])
    second.kill()
    house.read()
    return faults(house.url, said, more)


@case()
def broker_restarts(house: House, r: random.Random) -> list[str]:
    first, second = some(r), some(r, 10)
    worker = house.worker(flush=20)
    house.broker.produce(first)
    until(lambda: _counted(worker) > r.randrange(1, 300), "it stores", worker.words)
    house.broker.kill()
    house.broker.start()
    house.broker.produce(second)
    house.read()
    return faults(house.url, first, second)


@case(ground="embedded-faust")
def embedded_broker_wiped(house: House, r: random.Random) -> list[str]:
    """What it had not handed on is lost with it, and said so by whoever produced it; here all was read before."""
    first, second = some(r), some(r)
    house.worker(flush=20)
    house.broker.produce(first)
    house.read()
    house.broker.wipe()
    again = r.sample(range(len(first)), 100)
    house.broker.produce([*second[:40], *(first[i] for i in sorted(again)), *second[40:]])
    house.read()
    return faults(house.url, first, second)


@case(store=True)
def store_killed(stage: "Stage", r: random.Random) -> list[str]:
    first, second = some(r), some(r)
    with stage.house() as (store, house):
        worker = house.worker(flush=20)
        house.broker.produce(first)
        until(lambda: _counted(worker) > 0, "it stores", worker.words)
        store.kill()
        house.broker.produce(second)
        down = time.monotonic()
        until(lambda: worker.counted(RETRIES) >= 4, "it waits", worker.words)
        until(lambda: time.monotonic() > down + DOWN_S, "it has been down for long")
        assert worker.alive
        store.start()
        house.read()
        return faults(store.url, first, second) + stage.rebuilt(house)


@case(store=True)
def disk_full(stage: "Stage", r: random.Random) -> list[str]:
    first, second = some(r), some(r)
    with small_disk(stage.folder / "disk") as disk, stage.house(disk / "db") as (store, house):
        worker = house.worker()
        house.broker.produce(first)
        house.read()
        ballast = disk / "ballast"
        fill(ballast)
        house.broker.produce(second)
        until(lambda: worker.counted(RETRIES) >= 2, "it waits for room", worker.words)
        assert worker.alive
        ballast.unlink()
        house.read()
        return faults(store.url, first, second) + stage.rebuilt(house)


# ── what is delivered otherwise than it was said ──────────────────────────────────────────────────────────────


@case()
def every_record_twice(house: House, r: random.Random) -> list[str]:
    said = some(r)
    later = list(said)
    house.worker(flush=r.choice([20, 50, 1_000]))
    house.broker.produce([record for record in said for _ in range(r.choice([1, 2]))])
    house.broker.produce(later)
    house.read()
    return faults(house.url, said)


@case(rebuilt=True)
def batches_cut_anew(house: House, r: random.Random) -> list[str]:
    """The same records are stored in blocks of other sizes, by workers that die before they commit."""
    said = some(r)
    house.broker.produce(said)
    for flush in r.sample([11, 17, 29, 47], 2):
        worker = house.worker(flush=flush)
        until(
            lambda w=worker: _counted(w) > 0 or house.broker.committed() == house.broker.ends, "it stores", worker.words
        )
        worker.kill()
    house.worker(flush=r.choice([13, 1_000]))
    house.read()
    return faults(house.url, said)


@case()
def records_out_of_order(house: House, r: random.Random) -> list[str]:
    said = some(r)
    mixed = list(said)
    r.shuffle(mixed)
    house.worker(flush=20)
    house.broker.produce(mixed)
    house.read()
    return faults(house.url, said)


@case()
def part_delivered_late(house: House, r: random.Random) -> list[str]:
    """As a spool that is replayed behind live traffic: whole sources, and the ends of others, arrive epochs later."""
    said = some(r)
    late_calls = set(r.sample(sorted({key for key, _ in said}), 15))
    late = [record for record in said if record[0] in late_calls]
    tail = [record for record in said if record[0] not in late_calls][-100:]
    held = {id(record) for record in (*late, *tail)}
    house.worker(flush=50)
    house.broker.produce([record for record in said if id(record) not in held])
    house.read()
    house.broker.produce([*tail, *late, *r.sample(said, 50)])
    house.read()
    return faults(house.url, said)


# ── what producers say wrong ──────────────────────────────────────────────────────────────────────────────────


@case()
def clocks_fifty_minutes_apart(house: House, r: random.Random) -> list[str]:
    said = some(r, skew_us=lambda _: r.choice([-50, 0, 50]) * MINUTE_US)
    house.worker()
    house.broker.produce(said)
    house.read()
    return faults(house.url, said)


@case()
def producer_in_1970(house: House, r: random.Random) -> list[str]:
    """Its records are named dead letters; nobody else's are."""
    said, lost = some(r), some(r, 5, skew_us=lambda _: -time.time_ns() // 1000 + 3_600 * SECOND_US)
    house.worker()
    house.broker.produce(_mixed(r, said, lost))
    house.read()
    return faults(house.url, said) + _buried(house, {"clock": len(lost)})


@case()
def events_three_days_late(house: House, r: random.Random) -> list[str]:
    said = some(r, skew_us=lambda number: -3 * DAY_US if number % 3 == 0 else 0)
    house.worker()
    house.broker.produce(said)
    house.read()
    return faults(house.url, said)


@case()
def one_in_a_hundred_is_poison(house: House, r: random.Random) -> list[str]:
    said = some(r, 2 * CALLS)
    poison = [(f"poison {n}", b"{not JSON") for n in range(len(said) // 100)]
    house.worker()
    house.broker.produce(_mixed(r, said, poison))
    house.read()
    return faults(house.url, said) + _buried(house, {"malformed": len(poison)})


@case(rebuilt=True)
def block_that_the_store_refuses(house: House, r: random.Random) -> list[str]:
    """Bytes that are no text, in a field of a newer writer: only the columns find them, a whole block at a time."""
    said = some(r)
    refused = [(key, value[:-1] + b',"of_a_newer_writer":"\xff"}') for key, value in _fresh(r, 7)]
    house.worker()
    house.broker.produce(_mixed(r, said, refused))
    house.read()
    return faults(house.url, said) + _buried(house, {"refused_by_store": len(refused)})


def _fresh(r: random.Random, count: int) -> list[Record]:
    """The first events of calls of which nothing else is said."""
    firsts: dict[str, bytes] = {}
    for key, value in some(r, count):
        firsts.setdefault(key, value)
    return list(firsts.items())


def _mixed(r: random.Random, said: list[Record], among: list[Record]) -> list[Record]:
    """Both, each in its order."""
    places = sorted(r.sample(range(len(said) + len(among)), len(among)))
    mixed, rest = list(said), iter(among)
    for place in places:
        mixed.insert(place, next(rest))
    return mixed


def _buried(house: House, expected: dict[str, int]) -> list[str]:
    found = Counter(letter.reason for letter, _ in house.letters())
    return [] if found == expected else [f"dead letters are {dict(found)}, not {expected}"]


def rebuilt(house: House) -> list[str]:
    """How the tables differ from those that are built anew from the log, beside workers that run."""
    outcome = rebuild(
        house.url,
        house.broker.address if house.broker.survives else None,
        house.broker.group,
        verify=True,
        limits=Limits(epoch_records=EPOCH_RECORDS),
        running=lambda _brokers, _group: sum(worker.alive for worker in house.workers),
    )
    return [f"built anew, it differs: {difference}" for difference in outcome.differences]


# ── what a case stands on ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Stage:
    """Where a case may build a store of its own, and a house that uses it."""

    ground: object
    folder: Path
    soak: bool = False

    @contextmanager
    def house(self, store: Path | None = None) -> Iterator[tuple[Store, House]]:
        with Store(store or self.folder / "db") as running, house_on(self.ground, running.url, self.folder) as house:  # type: ignore[arg-type]
            yield running, house

    def rebuilt(self, house: House) -> list[str]:
        """As `rebuilt`, in a soak. A case with a store of its own asks it while that store runs."""
        return rebuilt(house) if self.soak else []


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of DISK_BYTES; skips for whoever may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk is a tmpfs, which only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Until there is no room at all."""
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65_536)
    except OSError as full:
        if full.errno != errno.ENOSPC:
            raise
