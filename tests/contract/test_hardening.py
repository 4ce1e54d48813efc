"""A worker that cannot do right stops and says why; one that only has to wait waits, with what it holds bounded."""

import time
from collections import Counter

import msgspec
import pytest

from ingest import query
from ingest.partition import Limits
from ingest.replay import rebuild
from ingest.stream.invalid import RUN_MAX
from ingest.stream.worker import GROUP
from runtime import events as ev
from runtime.events import Metric, Topic
from tests.contract.ground import EPOCH_RECORDS, house_at, house_on, until
from tests.contract.grounds import OverKafka, ground_named
from tests.contract.kafka_broker import embedded_broker
from tests.contract.processes import WORKER, Store, start_worker
from tests.contract.said import calls, faults

ADAPTERS = ("plain", "faust")
_RECORDS, _DEAD = "turnlog_ingest_records_total", "turnlog_ingest_dead_letters_total"
_RETRIES, _PAUSES = "turnlog_ingest_retries_total", "turnlog_ingest_pauses_total"


# ── a bad deploy ──


@pytest.mark.parametrize("name", ["memory", "embedded-faust"])
def test_a_bad_deploy_stops_the_worker_and_buries_nothing_until_somebody_asks_for_it(
    request, store_url, tmp_path, name
):
    good, bad = calls(3), [("k", b"not JSON")] * (RUN_MAX + 50)
    with house_at(ground_named(name, request), store_url, tmp_path) as house:
        worker = house.worker()
        house.broker.produce(good)
        house.read()
        house.broker.produce(bad)
        until(lambda: not worker.alive, "it stops by itself", worker.words)
        assert worker.stop() != 0
        assert worker.said("--accept-invalid")
        assert len(house.letters()) <= RUN_MAX
        again = house.worker(accept_invalid=True)
        house.read()
        assert faults(house.url, good) == []
        assert {content for _, content in house.letters()} == {b"not JSON"}
        offsets = {(letter.partition, letter.offset) for letter, _ in house.letters()}
        assert len(offsets) == len(bad), "each is buried, at least once"
        assert again.stop() == 0


def test_poison_of_one_in_a_hundred_passes(store_url, tmp_path, request):
    good = calls(60)
    mixed = [r for n, record in enumerate(good) for r in ([record, ("p", b"not JSON")] if n % 99 == 0 else [record])]
    with house_at(ground_named("memory", request), store_url, tmp_path) as house:
        worker = house.worker(flush=50)
        house.broker.produce(mixed)
        house.read()
        assert worker.alive
        assert len(house.letters()) == len(mixed) - len(good)
        assert faults(house.url, good) == []


# ── a consumer that is stuck, and one that waits ──


_STUCK = WORKER.replace(
    "more = {",
    """
import asyncio
from ingest.stream.intake import Intake
taken = Intake.feed
async def never(self, spot, records, era):
    if self.moves > 0:
        await asyncio.Event().wait()
    await taken(self, spot, records, era)
Intake.feed = never
more = {""",
    1,
)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_stuck_consumer_ends_its_worker_and_the_next_one_loses_nothing(store_url, tmp_path, adapter):
    first, second = calls(4), calls(4, seed=1)
    assert _STUCK != WORKER
    with house_at(OverKafka(embedded_broker, adapter), store_url, tmp_path) as house:
        stuck = start_worker(
            house.broker.servers, house.broker.group, house.url, adapter, tmp_path / "stuck.log", 1_000,
            program=_STUCK, stuck_after_s=3.0,
        )  # fmt: skip
        house.workers.append(stuck)
        house.broker.produce(first)
        house.broker.produce(second)
        until(lambda: not stuck.alive, "it ends by itself", stuck.words)
        assert stuck.stop() != 0
        assert stuck.said("nothing was taken of turnlog.calls.v1/"), stuck.words()
        house.worker()
        house.read()
        assert faults(house.url, first, second) == []


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_store_that_is_away_pauses_reading_at_the_limit_and_is_waited_for(tmp_path, adapter):
    """For twice as long as a stuck consumer gets, with more to read than may be held."""
    first, second, third = calls(4), calls(40, seed=1), calls(40, seed=2)
    limit, patience_s = 20_000, 6.0
    with (
        Store(tmp_path / "db") as store,
        house_on(OverKafka(embedded_broker, adapter), store.url, tmp_path) as house,
    ):
        worker = house.worker(held_bytes_max=limit, stuck_after_s=patience_s)
        house.broker.produce(first)
        house.read()
        store.kill()
        away_s = time.monotonic()
        house.broker.produce(second)
        until(lambda: worker.counted(_PAUSES) > 0, "it pauses", worker.words)
        held = worker.counted(Metric.HELD_BYTES)
        house.broker.produce(third)
        until(lambda: time.monotonic() - away_s > 2 * patience_s, "the store is away for long")
        assert worker.alive, worker.words()
        assert worker.counted(_RETRIES) > 0
        assert worker.counted(Metric.HELD_BYTES) == held, "nothing more was read"
        store.start()
        house.read()
        assert faults(store.url, first, second, third) == []
        assert worker.stop() == 0


# ── nothing that pages ──


OF_CALLS = ("turnlog_latency_seconds_count", "turnlog_turns_total", "turnlog_glitches_total")
PAGES = (*OF_CALLS, _DEAD, *(f"{metric}_total" for metric in (Metric.CONFLICTS, Metric.RETRIES, Metric.CALLS_LOST)))
LIMITS = Limits(epoch_records=EPOCH_RECORDS)


def _an_hour_ago(records):
    """The same calls as they would have been said: their ids are of that time too."""
    hour_us, ids, old = 3_600 * 1_000_000, {}, []
    for key, value in records:
        event = msgspec.json.decode(value)
        call = ids.setdefault(key, ev.new_call_id(time.time_ns() // 1000 - hour_us))
        old.append((call, msgspec.json.encode({**event, "stream": call, "at": event["at"] - hour_us})))
    return old


def test_a_backlog_of_an_hour_a_second_reading_and_a_rebuild_move_no_figure_that_pages(store_url, tmp_path, request):
    fresh, old = calls(6), _an_hour_ago(calls(20, seed=1))
    seen = [e for e in (ev.decode(v) for _, v in fresh) if e.at > time.time_ns() // 1000 - 60 * 1_000_000]
    assert seen, "some are fresh for as long as this test takes"
    with house_at(ground_named("memory", request), store_url, tmp_path) as house:
        house.broker.produce(old)
        worker = house.worker()
        house.read()
        assert [worker.counted(name) for name in OF_CALLS] == [0, 0, 0]
        assert worker.counted(_RECORDS) == len(old)
        house.broker.produce(fresh)
        house.read()
        assert worker.counted("turnlog_turns_total") > 0, "fresh ones do"
        assert worker.stop() == 0
        house.broker.group._committed.clear()  # as an operator's reset to the beginning
        again = house.worker()
        house.read()
        assert again.counted(_RECORDS) == len(old) + len(fresh)
        assert [again.counted(name) for name in OF_CALLS] == [0, 0, 0]
        before = [again.counted(name) for name in PAGES]
        assert rebuild(house.url, None, GROUP, verify=True, limits=LIMITS).differences == ()
        assert [again.counted(name) for name in PAGES] == before
        assert again.stop() == 0
        assert rebuild(house.url, None, GROUP, verify=False, limits=LIMITS).swapped
        house.broker.produce(more := calls(2, seed=2))
        after = house.worker()
        house.read()
        of_more = Counter(type(ev.decode(value)) for _, value in more)
        assert 0 < after.counted("turnlog_turns_total") <= of_more[ev.TurnEnded], "those alone"
        assert [after.counted(name) for name in PAGES if name not in OF_CALLS] == [0] * (len(PAGES) - len(OF_CALLS))
        assert faults(house.url, old, fresh, more) == []


# ── words ──


def test_no_word_reaches_what_a_worker_says_or_counts(store_url, tmp_path, request):
    number = "0612345678"
    words = {
        "at": time.time_ns() // 1000, "v": 1, "tenant": "acme", "campaign": "c", "source": "runtime.words",
        "type": "WordsHeard", "turn": 1, "stream": ev.new_call_id(time.time_ns() // 1000),
    }  # fmt: skip
    said = [msgspec.json.encode({**words, "seq": n, "text": f"my number is {number}"}) for n in range(4)]
    said += [msgspec.json.encode({**words, "seq": 0, "text": f"or was it {number}?"})]  # a conflict
    said += [said[0][:-1] + b',"more":"\xff"}', f'"{number}"'.encode(), said[1].replace(b'"turn":1', b'"turn":"1"')]
    with house_at(ground_named("memory", request), store_url, tmp_path) as house:
        worker = house.worker()
        house.broker.produce([("k", value) for value in said], Topic.CONTENT)
        house.read()
        until(lambda: worker.counted(_DEAD) == 4, "the conflict and three more are buried")
        letters = b"".join(r.value for r in house.broker.records(Topic.DEAD_LETTERS))
        assert number.encode() not in letters
        assert not worker.said(number)
        with query.connect(house.url) as client:
            raw = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%_log'"
            tables = [row["name"] for row in query.rows(client, raw)]
            holding = {
                table for table in tables
                if number in str(query.rows(client, f"SELECT * FROM {table}"))
            }  # fmt: skip
        assert holding == {"content_log"}
