"""The intake performs what the core asks for, in order, and commits nothing that is not stored, whatever goes wrong."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from ingest.effects import Dead, FindLast, Last, Lookup, Restore, Skipped, Write, WriteRollups
from ingest.errors import StoreRefused, StoreUnreachable
from ingest.partition import Limits
from ingest.position import position_of
from ingest.projection import Record, project
from ingest.stream import intake as module
from ingest.stream.intake import Intake, LogReplaced, Spot
from ingest.stream.invalid import InvalidLimits, TooManyInvalid
from ingest.stream.letters import CONTENT_BYTES_MAX, LETTERS_PER_FLUSH_MAX, DeadLetters, LettersLost
from ingest.stream.logs import BrokerUnreachable
from ingest.stream.meters import Meters
from runtime import events as ev
from runtime.emit import MemoryLog
from runtime.emit.kafka import QUEUE_RECORDS_MAX
from runtime.events import Reason, Topic

SPOT, OTHER = Spot(Topic.CALLS.value, 0), Spot(Topic.CALLS.value, 1)
NOW_US = time.time_ns() // 1000
CALL = ev.new_call_id(NOW_US)
AT_ONCE = Limits(flush_records_max=1, epoch_records=10)
NEVER = Limits(flush_after_s=1e9, epoch_records=1_000)


def record(offset, seq=None, node="hello", **more):
    event = ev.NodeEntered(
        **{"stream": CALL, "source": "runtime", "seq": offset if seq is None else seq, "at": NOW_US, "v": 1, **more},
        tenant="acme",
        campaign="c",
        turn=1,
        node=node,
    )
    return Record(offset, NOW_US // 1000, ev.encode(event))


@dataclass
class FakeStore:
    """Tables in memory: the first delivery of an identity survives. `faults` are raised, one a call, or by `breaks`."""

    faults: list = field(default_factory=list)
    breaks: object = lambda _: None
    raw: dict = field(default_factory=dict)  # (log, partition, offset) → Item
    done: list = field(default_factory=list)
    logs: list = field(default_factory=list)
    away: bool = False
    asked: list | None = None  # what came together

    def generation(self, _, log):
        self._fail("generation")
        if log not in self.logs:
            self.logs.append(log)
        return self.logs.index(log)

    def highest_offset(self, place):
        self._fail("highest_offset")
        return max((o for log, p, o in self.raw if (log, p) == (place.log, place.partition)), default=-1)

    def stored_payloads(self, _, items):
        self._fail("stored_payloads")
        wanted = {i.identity for i in items}
        found = {}
        for item in self.raw.values():
            if item.identity in wanted:
                found.setdefault(item.identity, item.row.payload)
        return found

    def perform_all(self, work):
        if self.asked is not None:
            self.asked.append((type(work[0][1]).__name__, [place.partition for place, _ in work]))
        return [self.perform(place, effect) for place, effect in work]

    def perform(self, place, effect):
        self._fail(effect)
        self.done.append(type(effect).__name__)
        mine = {o: i for (log, p, o), i in self.raw.items() if (log, p) == (place.log, place.partition)}
        match effect:
            case FindLast(before):
                below = [o for o in mine if position_of(place.generation, o) < before]
                return Last(place.log, position_of(place.generation, max(below))) if below else None
            case Restore(start, stop):
                return [i for o, i in mine.items() if start <= position_of(place.generation, o) < stop]
            case Lookup(streams, before):
                return [i.identity for o, i in mine.items() if i.stream_key in streams and o < before]
            case Write(items):
                for item in items:
                    self.raw[place.log, place.partition, item.offset] = item
                return {}
            case WriteRollups():
                return None

    def _fail(self, what):
        if self.away:
            raise StoreUnreachable("nobody there")
        if self.faults:
            raise self.faults.pop(0)
        fault = self.breaks(what)
        if fault is not None:
            raise fault


class House:
    """An intake between a store, a log and commits that are all in memory."""

    def __init__(self, limits=NEVER, letters=None, **options):
        self.store, self.log, self.commits = FakeStore(), "log-0", []
        self.letters_log = letters or MemoryLog()
        self.meters = Meters()
        self.intake = Intake(
            store=self.store,
            log_id=lambda topic: self.log_of(topic),  # noqa: PLW0108  a test puts another in its place
            letters=DeadLetters(self.letters_log),
            commit=self.commit,
            meters=self.meters,
            limits=limits,
            **options,
        )

    def log_of(self, _):
        return self.log

    async def commit(self, spot, offset):
        self.commits.append((spot.partition, offset))

    async def feed(self, *records, spot=SPOT):
        await self.intake.feed(spot, records, self.intake.era)

    @property
    def stored(self):
        return sorted(self.store.raw)

    def counted(self, sample, **labels):
        return self.meters.registry.get_sample_value(sample, labels) or 0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(module, "_RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(module, "_RETRY_MAX_S", 0.002)
    monkeypatch.setattr(module, "RELEASE_TIMEOUT_S", 0.1)


async def until(holds):
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "not so in time"
        await asyncio.sleep(0.001)


async def test_a_batch_is_stored_and_then_committed():
    house = House(AT_ONCE)
    await house.feed(record(0), record(1))
    assert house.stored == [("log-0", 0, 0), ("log-0", 0, 1)]
    assert house.commits == [(0, 1), (0, 2)]


async def test_an_empty_batch_takes_nothing_up():
    house = House()
    await house.feed()
    assert house.intake.spots == ()


async def test_release_flushes_commits_and_forgets():
    house = House()
    await house.feed(record(0))
    await house.feed(record(5), spot=OTHER)
    assert house.commits == []
    await house.intake.release([SPOT])
    assert house.commits == [(0, 1)]
    assert house.intake.spots == (OTHER,)


async def test_partitions_are_kept_apart():
    house = House()
    await house.feed(record(0))
    await house.feed(record(0, seq=9), spot=OTHER)
    await house.intake.release(house.intake.spots)
    assert house.stored == [("log-0", 0, 0), ("log-0", 1, 0)]
    assert sorted(house.commits) == [(0, 1), (1, 1)]


async def test_what_is_to_be_forgotten_is_changed_or_skipped_before_anything_is_stored():
    house = House()

    def amend(spot, batch):
        assert spot == SPOT
        return [Skipped(i.offset, i.size) if i.seq == 1 else i for i in batch]

    house.intake._amend = amend
    await house.feed(record(0), record(1), record(2), record(3, seq=1))
    await house.intake.release([SPOT])
    assert house.stored == [("log-0", 0, 0), ("log-0", 0, 2)]
    assert house.commits == [(0, 4)]


# ── a store that is away ──


async def test_a_store_that_is_away_is_asked_again_and_nothing_is_committed_meanwhile():
    house = House(AT_ONCE)
    await house.feed(record(0))
    house.store.away = True
    feeding = asyncio.create_task(house.feed(record(1)))
    await until(lambda: house.counted("turnlog_ingest_retries_total") > 3)
    assert house.commits == [(0, 1)]
    house.store.away = False
    await feeding
    assert house.commits == [(0, 1), (0, 2)]
    assert house.stored == [("log-0", 0, 0), ("log-0", 0, 1)]


@pytest.mark.parametrize("calls_before", range(6))
async def test_any_single_call_may_meet_a_store_that_is_away(calls_before):
    house = House(AT_ONCE)
    calls = iter(range(1_000))
    house.store.breaks = lambda _: StoreUnreachable("now") if next(calls) == calls_before else None
    await house.feed(record(0), record(1))
    assert house.commits == [(0, 1), (0, 2)]
    assert house.counted("turnlog_ingest_retries_total") == 1


async def test_release_gives_up_on_a_store_that_stays_away_and_commits_nothing():
    house = House()
    await house.feed(record(0))
    house.store.away = True
    await house.intake.release([SPOT])
    assert (house.commits, house.intake.spots) == ([], ())


async def test_a_batch_that_waited_through_a_rebalance_is_not_taken_up_over_the_hole_before_it():
    house = House()
    await house.feed(record(0))
    house.store.away = True
    flushing = asyncio.create_task(house.intake.feed(OTHER, [record(0)], house.intake.era))  # holds everything up
    await until(lambda: house.counted("turnlog_ingest_retries_total") > 0)
    late = asyncio.create_task(house.feed(record(1)))
    await asyncio.sleep(0)
    await house.intake.release([SPOT, OTHER])  # in vain: record 0 was never stored
    house.store.away = False
    await asyncio.gather(flushing, late)
    await house.intake.release(house.intake.spots)
    assert (0, 2) not in house.commits
    assert SPOT not in house.intake.spots


async def test_records_of_a_past_era_are_dropped_and_a_new_era_reads_them_again():
    house = House(AT_ONCE)
    era = house.intake.era
    await house.intake.release([SPOT])
    await house.intake.feed(SPOT, [record(7)], era)
    assert (house.stored, house.commits) == ([], [])
    await house.feed(record(7))
    assert house.commits == [(0, 8)]


async def test_a_partition_that_is_forgotten_while_it_is_taken_up_is_not_kept():
    house = House()
    house.store.away = True
    feeding = asyncio.create_task(house.feed(record(0)))
    await until(lambda: house.counted("turnlog_ingest_retries_total") > 0)
    house.intake.forget([SPOT])
    house.store.away = False
    await feeding
    assert house.intake.spots == ()


# ── what cannot be mended by waiting ──


@pytest.mark.parametrize("effect", [FindLast, Lookup, Write])
async def test_a_fatal_error_drops_the_partition_and_what_follows_it_is_not_taken_up_over_the_hole(effect):
    house = House(AT_ONCE)
    fatal = StoreRefused("no", 60)
    house.store.breaks = lambda what: fatal if isinstance(what, effect) else None
    with pytest.raises(StoreRefused):
        await house.feed(record(0))
    house.store.breaks = lambda _: None
    await house.feed(record(1))
    await house.intake.release([SPOT])
    assert (house.commits, house.intake.spots) == ([], ())
    await house.feed(record(0))  # the next era reads from the last commit
    assert house.commits == [(0, 1)]


async def test_a_tick_that_is_cut_off_leaves_no_hole():
    house = House(Limits(flush_after_s=0.0, flush_records_max=1_000))
    house.store.breaks = lambda what: StoreUnreachable("away") if isinstance(what, Write) else None
    await house.feed(record(0))
    await house.feed(record(0), spot=OTHER)
    ticking = asyncio.create_task(house.intake.tick())
    await until(lambda: house.counted("turnlog_ingest_retries_total") > 0)
    ticking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ticking
    house.store.breaks = lambda _: None
    await house.feed(record(1))
    await house.feed(record(1), spot=OTHER)
    await house.intake.release(house.intake.spots)
    assert (house.stored, house.commits) == ([], [])


async def test_a_failed_commit_ends_it_and_the_records_are_stored_but_read_again():
    house = House(AT_ONCE)

    async def refuse(spot, offset):
        raise RuntimeError("the broker says no")

    house.intake._commit = refuse
    with pytest.raises(RuntimeError):
        await house.feed(record(0))
    assert house.stored == [("log-0", 0, 0)]
    assert house.intake.spots == ()


# ── a log that is not what it was ──


async def test_offsets_that_do_not_go_on_lead_to_a_fresh_take_up_and_what_was_held_is_stored_but_not_committed():
    house = House()
    await house.feed(record(40), record(41))
    house.log = "log-1"
    await house.feed(record(0, seq=50))
    assert house.stored == [("log-0", 0, 40), ("log-0", 0, 41)]
    assert house.commits == []
    await house.intake.release([SPOT])
    assert house.stored[-1] == ("log-1", 0, 0)
    assert house.commits == [(0, 1)]


async def test_a_log_that_was_rewound_is_read_again_and_what_was_held_is_stored_but_not_committed():
    house = House()
    await house.feed(record(40), record(41))
    await house.feed(record(0))
    assert house.stored == [("log-0", 0, 40), ("log-0", 0, 41)]
    assert house.commits == []
    await house.intake.release([SPOT])
    assert house.commits == [(0, 1)]


async def test_a_log_that_was_replaced_at_the_very_offset_is_not_committed_into():
    house = House(AT_ONCE)
    await house.feed(record(0))
    house.log = "log-1"
    await house.feed(record(1))  # of the new log, whose record 0 nobody has read
    assert house.commits == [(0, 1)]
    assert house.intake.spots == ()
    await house.feed(record(2))
    assert house.commits == [(0, 1)]
    house.intake.forget([SPOT])
    await house.feed(record(0, seq=9))
    assert house.stored[-1] == ("log-1", 0, 0)


async def test_a_replaced_log_that_the_group_never_notices_ends_the_worker(monkeypatch):
    house = House(AT_ONCE)
    await house.feed(record(0))
    house.log = "log-1"
    await house.feed(record(1))
    await house.intake.tick()
    monkeypatch.setattr(module, "FAILED_MAX_S", -1.0)
    with pytest.raises(LogReplaced, match="start the worker again"):
        await house.intake.tick()


@pytest.mark.parametrize(("log", "commits"), [("log-0", [(0, 1), (0, 2)]), ("another", [(0, 1)])])
async def test_nothing_is_committed_before_the_broker_says_which_log_it_has(monkeypatch, log, commits):
    """A broker that was wiped takes the commit of a member that it does not know, and its first records are skipped."""
    monkeypatch.setattr(module, "_RETRY_FIRST_S", 0.0)
    house = House(AT_ONCE)
    await house.feed(record(0))
    assert house.log == "log-0"
    away = iter([True, True, False])

    def returning(_):
        if next(away):
            assert house.commits == [(0, 1)]
            raise BrokerUnreachable("away")
        return log

    house.log_of = returning
    await house.feed(record(1))
    assert house.commits == commits


@pytest.mark.parametrize("order", [(SPOT, OTHER), (OTHER, SPOT)])
async def test_of_partitions_flushed_together_those_of_a_log_that_was_replaced_are_not_committed(order):
    house = House()
    await house.feed(record(0), record(1), spot=OTHER)
    house.log = "log-1"
    await house.feed(record(0, stream=ev.new_call_id(NOW_US)))  # taken up after it, so of the new log
    await house.intake.release(order)
    assert house.commits == [(0, 1)]


# ── partitions together ──


async def test_what_is_due_of_one_partition_flushes_all_of_them_a_kind_at_a_time():
    house = House(Limits(flush_after_s=0.0, flush_records_max=1_000))
    asked = []
    house.store.asked = asked
    await house.feed(record(0))
    await house.feed(record(0, stream=ev.new_call_id(NOW_US)), spot=OTHER)
    asked.clear()
    await house.intake.tick()
    assert asked == [("Write", [0, 1])]
    assert house.commits == [(0, 1), (1, 1)]
    await house.intake.tick()
    assert len(asked) == 1  # nothing is left to flush


async def test_a_store_that_fails_for_good_gives_up_every_partition_of_the_flush():
    house = House(Limits(flush_after_s=0.0, flush_records_max=1_000))
    await house.feed(record(0))
    await house.feed(record(0), spot=OTHER)
    house.store.breaks = lambda what: StoreRefused("no", 60) if isinstance(what, Write) else None
    with pytest.raises(StoreRefused):
        await house.intake.tick()
    house.store.breaks = lambda _: None
    await house.feed(record(1))
    await house.feed(record(1), spot=OTHER)
    await house.intake.tick()
    assert (house.intake.spots, house.commits) == ((), [])


# ── too much in memory ──


async def test_what_many_partitions_hold_together_is_flushed_at_the_limit_however_little_each_has():
    assert Intake.__init__.__kwdefaults__["held_bytes_max"] == module.FLUSH_ALL_BYTES == 32 * 2**20
    one = record(0)
    house = House(held_bytes_max=3 * len(one.value))
    spots = [Spot(Topic.CALLS.value, n) for n in range(3)]
    for spot in spots[:2]:
        await house.feed(one, spot=spot)
    assert (house.commits, house.intake.held_bytes) == ([], 2 * len(one.value))
    await house.feed(one, spot=spots[2])
    assert sorted(house.commits) == [(0, 1), (1, 1), (2, 1)]
    assert house.intake.held_bytes == 0


# ── too much that is invalid ──

FEW = InvalidLimits(run_max=3, window_records=100, ratio_max=0.1)


async def test_a_bad_deploy_stops_it_before_anything_of_the_batch_is_buried_or_committed():
    house = House(AT_ONCE, invalid=FEW)
    await house.feed(record(0))
    with pytest.raises(TooManyInvalid):
        await house.feed(record(1), *(Record(n, 0, b"not JSON") for n in range(2, 6)))
    assert house.commits == [(0, 1)]
    assert house.letters_log.records(Topic.DEAD_LETTERS) == []
    assert house.intake.spots == ()


async def test_what_the_store_refuses_all_at_once_stops_it_before_it_is_buried():
    house = House(Limits(flush_records_max=20, epoch_records=1_000), invalid=FEW)
    refuses = house.store.perform

    def perform(place, effect):
        if isinstance(effect, Write):
            return {i.offset: Dead(i.offset, 1, Reason.REFUSED_BY_STORE, "", b"") for i in effect.items}
        return refuses(place, effect)

    house.store.perform = perform
    with pytest.raises(TooManyInvalid, match="refused_by_store"):
        await house.feed(*(record(n) for n in range(20)))
    assert (house.commits, house.letters_log.records(Topic.DEAD_LETTERS)) == ([], [])


async def test_whoever_knows_what_is_there_may_have_it_buried():
    house = House(AT_ONCE, invalid=None)
    await house.feed(*(Record(n, 0, b"not JSON") for n in range(50)))
    assert len(house.letters_log.records(Topic.DEAD_LETTERS)) == 50
    assert house.commits[-1] == (0, 50)


# ── letters ──


async def test_one_identity_with_two_payloads_is_a_conflict_once_and_the_first_is_kept():
    house = House()
    await house.feed(record(0), record(1, seq=0, node="bye"), record(2, seq=0))
    await house.intake.release([SPOT])
    assert house.counted("turnlog_ingest_conflicts_total", topic=SPOT.topic) == 1
    assert house.counted("turnlog_ingest_duplicates_total", topic=SPOT.topic) == 2
    assert [value for _, value in house.letters_log.records(Topic.DEAD_CONTENT)] == [record(1, 0, "bye").value]


async def test_a_conflict_with_what_was_stored_long_ago_is_found_in_the_store():
    house = House(AT_ONCE)
    for n in range(10):
        await house.feed(record(n))
    await house.intake.release([SPOT])
    await house.feed(record(10, seq=3, node="bye"))
    assert house.counted("turnlog_ingest_conflicts_total", topic=SPOT.topic) == 1


async def test_letters_that_the_log_does_not_take_end_it_before_the_commit():
    house = House(AT_ONCE, letters=MemoryLog(records_max=1))
    with pytest.raises(LettersLost):
        await house.feed(Record(0, 0, b"not JSON"))
    assert house.commits == []


class Handover(MemoryLog):
    """Takes no more between two flushes than a producer's hand-over does."""

    waiting = 0

    def append(self, topic, key, value):
        self.waiting += 1
        if self.waiting > QUEUE_RECORDS_MAX:
            self.dropped += 1
        else:
            super().append(topic, key, value)

    def flush(self, _timeout_s=10.0):
        self.waiting = 0
        return 0


def test_a_flood_of_letters_is_buried_whole_and_never_faster_than_the_log_takes_it():
    log, flood = Handover(), 2 * LETTERS_PER_FLUSH_MAX + 1
    assert 2 * LETTERS_PER_FLUSH_MAX <= QUEUE_RECORDS_MAX < 2 * flood
    letters = [Dead(n, 1, Reason.MALFORMED, "", b"{") for n in range(flood)]
    DeadLetters(log).bury("calls", "log-0", 0, letters, NOW_US)
    assert log.dropped == 0
    assert len(log.records(Topic.DEAD_LETTERS)) == len(log.records(Topic.DEAD_CONTENT)) == flood


def test_a_letter_beyond_the_size_that_a_broker_takes_keeps_its_beginning():
    log, value = MemoryLog(), b"x" * (CONTENT_BYTES_MAX + 1)
    DeadLetters(log).bury("calls", "log-0", 3, [Dead(7, len(value), Reason.MALFORMED, "", value)], NOW_US)
    assert log.records(Topic.DEAD_CONTENT) == [("calls/3/7@log-0", value[:-1])]


def test_a_letter_buried_twice_has_the_same_key_and_hash():
    log = MemoryLog()
    dead = project([Record(7, 0, b"not JSON")], Topic.CALLS)
    for at in (1, 2):
        DeadLetters(log).bury("calls", "log-0", 3, dead, at)
    first, second = log.records(Topic.DEAD_LETTERS)
    assert first[0] == second[0] == "calls/3/7@log-0"
    assert first[1].replace(b'"at":1', b'"at":2') == second[1]
