"""Every table follows from the log: built anew it is the same, and what is not the same is found and mended."""

import sys
import time
from contextlib import closing
from functools import partial

import pytest

from ingest import query
from ingest.partition import Limits
from ingest.position import OFFSETS_MAX
from ingest.reconcile.consolidate import consolidate
from ingest.replay import RebuildRefused, rebuild
from ingest.replay.rebuild import SHADOW
from runtime import events as ev
from runtime.emit import Brokers
from tests.contract.ground import EPOCH_RECORDS, house_at, house_on
from tests.contract.grounds import ground_named
from tests.contract.processes import Store
from tests.contract.said import calls, faults

LIMITS = Limits(epoch_records=EPOCH_RECORDS)


@pytest.fixture(scope="module")
def read(request, tmp_path_factory):
    """A house that has read repeats, poison and a wiped broker's second log; its worker still runs."""
    folder = tmp_path_factory.mktemp("rebuild")
    with Store(folder / "db") as store, house_on(ground_named("apache-plain", request), store.url, folder) as house:
        first, second = calls(12), calls(12, seed=1)
        worker = house.worker()
        house.broker.produce([*first, *first[:40], ("poison", b"not JSON")])
        house.read()
        house.broker.wipe()
        house.broker.produce([*second, *first[:30]])
        house.read()
        yield house, worker, [*first, *second]


def built(house, *, verify, brokers=True, **more):
    where = Brokers(house.broker.servers) if brokers else None
    return rebuild(house.url, where, house.broker.group, verify=verify, limits=LIMITS, **more)


def databases(url):
    with closing(query.connect(url)) as client:
        return {row["name"] for row in query.rows(client, "SELECT name FROM system.databases")}


def test_a_build_beside_a_running_worker_is_equal_and_leaves_nothing(read):
    house, worker, said = read
    outcome = built(house, verify=True)
    assert outcome.differences == ()
    assert outcome.rows["events_log"] == len(said)
    assert outcome.rows["latency_1m_log"] > 10
    assert outcome.rows["quality_1m_log"] > 10
    assert outcome.rows["calls_log"] == 24
    assert SHADOW not in databases(house.url)
    assert worker.alive


def test_the_seam_is_told(read):
    house, _, _ = read
    calls_seams = [s for s in built(house, verify=True).seams if s.topic == ev.Topic.CALLS]
    old = [s for s in calls_seams if s.held_below is None]
    live = [s for s in calls_seams if s.held_below is not None]
    assert all(s.stored_below is None for s in old)  # the wiped log: from the tables, to its end
    committed = {s.partition: at for s, at in house.broker.committed().items() if s.topic == ev.Topic.CALLS}
    assert {s.partition: s.held_below for s in live if s.held_below} == committed
    assert old
    assert len({s.log for s in live}) == 1


def _merge_a_key(url, more=0):
    """As consolidation does: one row with an empty log stands for all epochs of its key."""
    with closing(query.connect(url)) as client:
        client.command(
            f"INSERT INTO quality_1m_log SELECT minute, tenant, campaign, what, '', 0, 0, max(version) + {more},"
            f" mapAdd(sumMap(buckets), map(toInt16(0), toUInt64({more}))) FROM quality_1m_log FINAL WHERE log != ''"
            " GROUP BY minute, tenant, campaign, what ORDER BY minute, campaign, what LIMIT 1"
        )


def test_what_consolidation_has_merged_is_compared_by_its_sum(read):
    house, _, _ = read
    _merge_a_key(house.url)
    assert built(house, verify=True).differences == ()
    _merge_a_key(house.url, more=1)
    (difference,) = built(house, verify=True).differences
    assert difference.table == "quality_1m_log"
    with closing(query.connect(house.url)) as client:
        client.command("ALTER TABLE quality_1m_log DELETE WHERE log = '' SETTINGS mutations_sync = 1")
    assert built(house, verify=True).differences == ()


def test_a_row_that_does_not_follow_from_the_log_is_found_and_named(read):
    house, _, _ = read
    with closing(query.connect(house.url)) as client:
        row = "minute, tenant, campaign, component, provider, model, log, partition, epoch, version"
        client.command(
            f"INSERT INTO latency_1m_log SELECT {row}, mapAdd(buckets, map(toInt16(7), toUInt32(1)))"
            " FROM latency_1m_log FINAL ORDER BY minute, log, partition, epoch LIMIT 1"
        )
    (difference,) = built(house, verify=True).differences
    assert difference.table == "latency_1m_log"
    assert len(difference.examples) == 1
    assert any(component in difference.examples[0] for component in ("asr", "response", "tts"))


def test_nothing_is_replaced_under_a_running_worker(read):
    house, _, _ = read
    with pytest.raises(RebuildRefused, match="--verify"):
        built(house, verify=False)


def test_without_workers_the_new_tables_take_the_place_and_the_next_worker_goes_on(read):
    house, worker, said = read
    assert faults(house.url, said) != []  # by the row of the test before
    worker.stop()
    outcome = built(house, verify=False)
    assert outcome.swapped
    assert faults(house.url, said) == []
    more = calls(6, seed=2)
    house.worker()
    house.broker.produce(more)
    house.read()
    assert faults(house.url, said, more) == []
    assert built(house, verify=True).differences == ()


def test_without_a_broker_all_comes_from_the_tables(read):
    house, _, _ = read
    outcome = built(house, verify=True, brokers=False)
    assert outcome.differences == ()
    assert {s.held_below for s in outcome.seams} == {None}
    assert OFFSETS_MAX not in {s.stored_below for s in outcome.seams}


def test_the_tables_of_a_cluster_are_compared_and_never_replaced(read, monkeypatch):
    """What is built lies on one server alone. No replicated table can be here: another engine stands for it."""
    house, _, _ = read
    monkeypatch.setattr(sys.modules[RebuildRefused.__module__], "REPLICATED", "Replacing")
    with pytest.raises(RebuildRefused, match="they can only be compared"):
        built(house, verify=False, brokers=False)
    assert SHADOW not in databases(house.url)


def test_on_the_embedded_broker_too_with_its_workers_counted_by_whoever_runs_them(request, store_url, tmp_path):
    first, second = calls(6), calls(6, seed=1)
    with house_at(ground_named("embedded-faust", request), store_url, tmp_path) as house:
        worker = house.worker()
        house.broker.produce(first)
        house.read()
        house.broker.wipe()
        house.broker.produce([*second, *first[:30]])
        house.read()
        anew = partial(built, house, running=lambda _brokers, _group: int(worker.alive))
        outcome = anew(verify=True)
        assert outcome.differences == ()
        assert outcome.rows["events_log"] == len(first) + len(second)
        with pytest.raises(RebuildRefused, match="--verify"):
            anew(verify=False)
        worker.stop()
        in_forty_days_us = time.time_ns() // 1000 + 40 * 86_400 * 1_000_000
        with closing(query.connect(house.url)) as client:
            merged = consolidate(client, in_forty_days_us)
            assert sum(day.rows_before - day.rows_after for day in merged) > 0
            assert anew(verify=False).swapped
            assert faults(house.url, first, second) == []
            again = consolidate(client, in_forty_days_us)  # what was rebuilt of a merged day did not come late to it
            assert [day.rows_after for day in again] == [day.rows_after for day in merged]
            assert client.command("SELECT count() FROM corrections") == 0
        assert faults(house.url, first, second) == []
