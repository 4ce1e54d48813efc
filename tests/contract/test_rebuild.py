"""A rebuild on the embedded broker and store: equal to what a worker made, and to an oracle that knows neither."""

import threading
from contextlib import closing

import pytest

from ingest import query
from ingest.partition import Limits
from ingest.replay import RebuildRuns, Wish, rebuild
from ingest.stream.worker import GROUP
from ingest.tables import DERIVED, RAW
from tests.contract.ground import EPOCH_RECORDS, house_at
from tests.contract.grounds import ground_named
from tests.contract.said import calls, faults

LIMITS = Limits(epoch_records=EPOCH_RECORDS, flush_records_max=200)


@pytest.fixture(scope="module")
def house(request, store_url, tmp_path_factory):
    """One worker that has read 12 calls, some of them twice; `said` is all that was produced."""
    with house_at(ground_named("embedded-plain", request), store_url, tmp_path_factory.mktemp("house")) as house:
        house.said = calls(12, seed=5)
        house.broker.produce(house.said + house.said[:40])
        house.worker(flush=70)
        house.read()
        yield house


def wish(house, **more):
    return Wish(house.url, GROUP, house.broker.address, limits=LIMITS, **more)


def command(house, sql):
    with closing(query.connect(house.url)) as client:
        return client.command(sql)


def databases(house):
    return command(house, "SELECT count() FROM system.databases WHERE endsWith(name, '__rebuild')")


def test_what_a_worker_made_is_equal_to_its_rebuild_and_nothing_is_left_of_it(house):
    found = rebuild(wish(house, verify=True))
    assert [t for t in found.tables if not t.equal] == []
    assert {t.table for t in found.tables} == {str(t) for t in (*DERIVED, *RAW.values())}
    assert {t.table: t.rows for t in found.tables}["events_log"] == len(house.said)
    assert found.records == len(house.said) + 40
    assert not found.swapped
    assert databases(house) == 0


def test_every_damage_is_found_and_mended_and_verify_only_finds_it(house):
    damage = (
        "ALTER TABLE spans_log DELETE WHERE turn = 0",
        "ALTER TABLE turns_log UPDATE outcome = 'answered' WHERE outcome = 'hung_up'",
        "ALTER TABLE calls_log UPDATE turns = turns + 1 WHERE campaign = 'spring'",
        "ALTER TABLE latency_1m_log DELETE WHERE component = 'tts'",
        "ALTER TABLE quality_1m_log UPDATE buckets = map(0, 7) WHERE what = 'turns'",
    )
    for sql in damage:
        command(house, f"{sql} SETTINGS mutations_sync = 2")
    assert faults(house.url, house.said)
    for verify in (True, False):
        found = rebuild(wish(house, verify=verify))
        differ = {t.table for t in found.tables if not t.equal}
        assert differ == {"spans_log", "turns_log", "calls_log", "latency_1m_log", "quality_1m_log"}
        assert found.raw_equal
        spans = next(t for t in found.tables if t.table == "spans_log")
        assert {d.where for d in spans.examples} == {"rebuilt"}
        assert bool(faults(house.url, house.said)) is verify
    assert rebuild(wish(house, verify=True)).equal


def test_a_worker_that_reads_all_the_time_loses_nothing_to_the_swaps(house):
    more, stop = calls(12, seed=6), threading.Event()

    def produce():
        for begin in range(0, len(more), 40):
            house.broker.produce(more[begin : begin + 40])
            stop.wait(0.05)

    producing = threading.Thread(target=produce)
    producing.start()
    rounds = []
    while producing.is_alive() or len(rounds) < 2:
        rounds.append(rebuild(wish(house)))
    producing.join()
    house.read()
    house.said += more
    assert [t for r in rounds for t in r.tables if not t.equal] == []
    assert faults(house.url, house.said) == []
    assert rebuild(wish(house, verify=True)).equal


def test_without_a_broker_the_raw_rows_are_enough(house):
    for table in DERIVED:
        command(house, f"TRUNCATE TABLE {table}")
    found = rebuild(Wish(house.url, GROUP, None, limits=LIMITS))
    assert all(not s.open for s in found.stretches)
    assert found.raw_equal
    assert not found.equal
    assert faults(house.url, house.said) == []


def test_what_a_killed_rebuild_left_is_put_away_and_a_living_one_is_not_disturbed(house):
    command(house, f"CREATE DATABASE {house.url.rpartition('/')[2]}__rebuild")
    shadow = f"{house.url.rpartition('/')[2]}__rebuild"
    command(
        house,
        f"CREATE TABLE {shadow}.lease (run String, phase String, at DateTime64(3, 'UTC'))"
        " ENGINE = MergeTree ORDER BY at",
    )
    command(house, f"INSERT INTO {shadow}.lease SELECT 'r', 'swapping', now64(3, 'UTC')")
    with pytest.raises(RebuildRuns, match="another rebuild"):
        rebuild(wish(house, verify=True))
    command(house, f"TRUNCATE TABLE {shadow}.lease")
    command(house, f"INSERT INTO {shadow}.lease SELECT 'r', 'swapping', now64(3, 'UTC') - INTERVAL 2 MINUTE")
    assert rebuild(wish(house, verify=True)).leftover == "swapping"
    assert databases(house) == 0
