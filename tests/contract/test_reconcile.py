"""What is looked at behind the stream, on a real store: wrong rows are found, lost calls named, old days merged."""

import datetime as dt
import time
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry

from ingest import query
from ingest.effects import RollupRow, WriteRollups
from ingest.partition import Limits, Partition
from ingest.projection import Record, project
from ingest.reconcile import beats, consolidate, judge, rollups
from ingest.reconcile.meters import ReconcilerMeters
from ingest.reconcile.task import BEHIND_RECORDS_MAX, EVERY_S, Reconciler, Task
from ingest.store.performer import Place, Tables
from ingest.tables import Log
from runtime import events as ev
from runtime.events import Topic

NOW_US = time.time_ns() // 1000
SECOND_US, DAY_US = 1_000_000, 86_400_000_000
LIMITS = Limits(epoch_records=32)
VIEWS = ("latency_1m", "latency_by_variation_1m", "quality_1m")


def said(call, kind, seq, at, **more):
    return kind(stream=call, source="runtime", seq=seq, at=at, v=1, tenant="acme", campaign="spring", **more)


def talk(at, turns=6, arms=None):
    """Events of one call, some in the next minute."""
    call, events = ev.new_call_id(at), []
    events.append(said(call, ev.CallStarted, 0, at, direction=ev.Direction.OUTBOUND))
    for turn in range(1, turns + 1):
        then, seq = at + turn * 17 * SECOND_US, 2 * turn - 1
        span = {"span": turn, "turn": turn, "component": "tts", "duration_us": 1_000 * turn, "variants": arms or {}}
        events.append(said(call, ev.SpanEnded, seq, then, **span))
        events.append(said(call, ev.TurnEnded, seq + 1, then, turn=turn, outcome=ev.Outcome.ANSWERED))
    return events


class Worker:
    """Folds a log of partitions into the real tables, as a worker does."""

    def __init__(self, client, log="log-a"):
        self.tables, self.name = Tables(client), log
        self.generation = self.tables.generation(Topic.CALLS.value, log)
        self.kept = {}

    def take(self, number, events):
        """Append to the partition and take it up from where it was."""
        kept = self.kept.setdefault(number, [])
        start = len(kept)
        kept += [ev.encode(e) for e in events]
        records = [Record(n, NOW_US // 1000, v) for n, v in enumerate(kept[start:], start)]
        partition = self.taken_up(number, start)
        self._drive(number, partition.feed(project(records, Topic.CALLS, judged=False), 0.0))
        self._drive(number, partition.flush())

    def taken_up(self, number, at):
        """As after a restart: the epoch of the last row below is folded again, and written."""
        partition = Partition(self.name, self.generation, number, at, LIMITS)
        self._drive(number, partition.start())
        return partition

    def _drive(self, number, effects):
        place = Place(Topic.CALLS.value, self.name, self.generation, number)
        answer = None
        try:
            while True:
                effect = effects.send(answer)
                answer = None if type(effect).__name__ in ("Commit", "Bury") else self.tables.perform(place, effect)
        except StopIteration:
            pass


def shown(client):
    """All that the views of rollups say."""
    return {
        view: sorted(query.rows(client, f"SELECT * FROM {view}"), key=lambda row: str(list(row.values())[:6]))
        for view in VIEWS
    }


def rows_of(client, where="1"):
    return {t: client.command(f"SELECT count() FROM {t} FINAL WHERE {where}") for t in rollups.ROLLUPS}


# ── the recount ──


def hour_of(at_us):
    start = dt.datetime.fromtimestamp(at_us // 3_600_000_000 * 3600, dt.UTC)
    return start, start + dt.timedelta(hours=2)


def test_a_recount_agrees_with_what_a_worker_folded_and_finds_each_row_that_was_changed(client):
    worker, at = Worker(client), NOW_US - 7_200 * SECOND_US
    for number in range(3):
        worker.take(number, [e for n in range(4) for e in talk(at + n * 40 * SECOND_US, arms={"greeting": "short"})])
        worker.take(number, [ev.decode(v) for v in worker.kept[number][:5]])  # once more
    hour = hour_of(at)

    def judged():
        return judge.differences(rollups.ROLLUPS, rollups.recounted(client, *hour), rollups.stored(client, *hour))

    sound = {d.rollup: d for d in judged()}
    assert {(d.differing, d.relative_error) for d in sound.values()} == {(0, 0.0)}
    assert all(d.checked > 0 for d in sound.values())
    spans = client.command("SELECT count() FROM spans")
    client.command(
        "INSERT INTO latency_1m_log SELECT * REPLACE (version + 1 AS version, map(1, 1) AS buckets) FROM latency_1m_log"
        " FINAL LIMIT 1"
    )
    client.command("ALTER TABLE quality_1m_log DELETE WHERE what = 'turns' SETTINGS mutations_sync = 1")
    found = {d.rollup: d for d in judged()}
    assert found[Log.LATENCY_BY_VARIATION_1M] == sound[Log.LATENCY_BY_VARIATION_1M]
    assert found[Log.LATENCY_1M].differing == 1
    assert 0 < found[Log.LATENCY_1M].relative_error <= 10 / spans
    assert found[Log.QUALITY_1M].differing == client.command(
        "SELECT uniqExact(toStartOfMinute(at), campaign) FROM turns"
    )


def test_the_sampled_hour_has_settled_and_every_one_of_the_last_two_days_is_drawn():
    drawn = {judge.sampled_hour(NOW_US, pick) for pick in range(100)}
    assert len(drawn) == judge.SAMPLE_HOURS
    now = dt.datetime.fromtimestamp(NOW_US / 1e6, dt.UTC)
    for start, stop in drawn:
        assert stop - start == dt.timedelta(hours=1)
        assert now - dt.timedelta(hours=50) < stop <= now - dt.timedelta(seconds=judge.SETTLED_S)


class Spoken:
    """Gives what is said to a worker, as the log would."""

    def __init__(self, worker):
        self.worker, self.said, self.dropped, self.accepts_calls = worker, [], 0, True

    def append(self, topic, key, value):
        assert (topic, key) == (Topic.CALLS, ev.decode(value).stream)
        self.said.append(ev.decode(value))
        self.worker.take(9, [self.said[-1]])

    def flush(self, timeout_s=10.0):  # noqa: ARG002  the port's signature
        return 0

    def close(self, timeout_s=10.0):  # noqa: ARG002  the port's signature
        return 0


def test_one_of_two_workers_acts_and_both_show_what_was_found(client):
    worker, began = Worker(client), NOW_US - 900 * SECOND_US
    gone = ev.new_call_id(began)
    worker.take(0, [beat(ev.new_call_id(began), 0, began, {gone: 3})])
    log, registries, behind = Spoken(worker), [CollectorRegistry(), CollectorRegistry()], [BEHIND_RECORDS_MAX + 1]

    def reconciler(registry):
        return Reconciler("", log, ReconcilerMeters(registry), lambda: behind[0], wait=lambda _: False)

    one, other = map(reconciler, registries)
    assert one.act(client, NOW_US) == list(Task)
    assert log.said == []  # what seems lost may wait in the log
    behind[0] = 0
    assert other.act(client, NOW_US + 1) == []
    later = NOW_US + EVERY_S[Task.LOST] * SECOND_US
    assert other.act(client, later) == [*one.act(client, later + 1), Task.LOST]
    assert [event.stream for event in log.said] == [gone]
    assert one.act(client, later + EVERY_S[Task.LOST] * SECOND_US) == [Task.LOST]
    assert len(log.said) == 1
    for registry in registries:
        at = registry.get_sample_value("turnlog_reconciler_recount_timestamp_seconds")
        assert at == pytest.approx(NOW_US / 1e6)
        for table in rollups.ROLLUPS:
            assert registry.get_sample_value("turnlog_reconciler_differing_rows", {"rollup": str(table)}) == 0
            assert registry.get_sample_value("turnlog_reconciler_relative_error", {"rollup": str(table)}) == 0


# ── lost calls ──


def beat(stream, seq, at, calls, **more):
    head = {"source": "producer", "v": 1, "tenant": "acme", "campaign": "spring", "of": "runtime"}
    return ev.ProducerBeat(stream=stream, seq=seq, at=at, calls=calls, **head, **more)


def test_a_call_that_beats_named_and_of_which_nothing_came_is_lost_once(client):
    worker, began = Worker(client), NOW_US - 900 * SECOND_US
    producer, here, gone, young = (ev.new_call_id(began + n) for n in range(4))
    closing = ev.new_call_id(began)  # all but its last event was lost: something of it is there
    worker.take(0, [beat(producer, 0, began, {here: 0, gone: 3, closing: 1})])
    worker.take(0, [beat(producer, 1, began + 10 * SECOND_US, {here: 5, gone: 9})])
    worker.take(0, [beat(producer, 2, NOW_US - 60 * SECOND_US, {here: 8, gone: 70, young: 1})])
    worker.take(1, [said(here, ev.CallStarted, 0, began, direction=ev.Direction.INBOUND)])
    worker.take(1, [said(closing, ev.SourceClosed, 2, began, last_seq=2)])
    (lost,) = judge.lost(beats.unheard(client, NOW_US), NOW_US)
    assert (lost.stream, lost.producer, lost.last_seq) == (gone, producer, 9)
    assert (lost.source, lost.seq, lost.at, lost.tenant, lost.campaign) == (
        *("reconciler", 0, began + judge.LOST_AFTER_S * SECOND_US, "acme", "spring"),
    )
    (again,) = judge.lost(beats.unheard(client, NOW_US + SECOND_US), NOW_US + SECOND_US)
    assert ev.encode(again) == ev.encode(lost)  # whoever says it, and when
    worker.take(2, [lost])
    assert beats.unheard(client, NOW_US) == []
    states = query.rows(client, f"SELECT state FROM call_completeness WHERE call_id = '{gone}'")
    assert states == [{"state": "lost"}]
    worker.take(2, [said(gone, ev.CallStarted, 0, began, direction=ev.Direction.INBOUND)])
    states = query.rows(client, f"SELECT state FROM call_completeness WHERE call_id = '{gone}'")
    assert states == [{"state": "unknown"}]


def named(**more):
    usual = {"tenant": "acme", "campaign": "c", "env": "test", "call": ev.new_call_id(NOW_US), "producer": "p"}
    return judge.Named(**usual | {"last_seq": 1, "first_at": 0, "spooled": 0, "beat_at": 0} | more)


@pytest.mark.parametrize(
    ("more", "is_lost"),
    [
        ({}, True),
        ({"first_at": NOW_US - judge.LOST_AFTER_S * SECOND_US}, True),
        ({"first_at": NOW_US - judge.LOST_AFTER_S * SECOND_US + 1}, False),
        ({"spooled": 3, "beat_at": NOW_US - SECOND_US}, False),  # on its producer's disk
        ({"spooled": 3, "beat_at": NOW_US - judge.LOST_AFTER_S * SECOND_US}, True),  # of whom nothing is heard
        ({"call": "no call at all"}, False),
    ],
)
def test_a_call_is_lost_when_it_was_named_long_enough_ago_and_is_not_on_its_way(more, is_lost):
    assert bool(judge.lost([named(**more)], NOW_US)) is is_lost


# ── old days ──

OLD_US = (NOW_US // DAY_US - 40) * DAY_US + 3_600 * SECOND_US


@pytest.fixture
def old(client):
    """Days past the horizon in three partitions and several epochs, and yesterday."""
    worker = Worker(client)
    for number in range(3):
        arms = {"greeting": "short"}
        days = [e for n in range(4) for e in talk(OLD_US + n * 20 * SECOND_US, arms=arms if n % 2 else {})]
        worker.take(number, [*days, *talk(OLD_US + DAY_US, turns=2), *talk(NOW_US - DAY_US, turns=2)])
    return worker


def test_merging_old_days_changes_no_figure_and_leaves_a_row_a_key(client, old):
    before, rows = shown(client), rows_of(client)
    done = consolidate.consolidate(client, NOW_US)
    assert shown(client) == before
    assert {(d.rollup, d.proven, d.corrected) for d in done} == {(t, True, 0) for t in rollups.ROLLUPS}
    assert all(d.rows_after < d.rows_before for d in done if d.day == min(x.day for x in done))
    for table in rollups.ROLLUPS:
        key = ", ".join(rollups.key_columns(table))
        old_days = "minute < now() - INTERVAL 20 DAY"
        keys = client.command(f"SELECT uniqExact({key}) FROM {table} WHERE {old_days}")
        assert client.command(f"SELECT count() FROM {table} FINAL WHERE {old_days}") == keys > 0
        assert client.command(f"SELECT count() FROM {table} WHERE {old_days} AND log != ''") == 0
    assert rows_of(client)[Log.QUALITY_1M] < rows[Log.QUALITY_1M]
    assert rows_of(client, "log != ''")[Log.LATENCY_1M] > 0  # yesterday's
    assert consolidate.consolidate(client, NOW_US) == []
    assert shown(client) == before


STEPS = ("_correct", "_write", "_report", "_unequal", "_remove", "_count")
# Of the first day: before the merge, before the proof, before the note, before the removal; and in the second day.
KILLED_BEFORE = (4, 6, 7, 8, 9, 15)


@pytest.mark.parametrize("step", KILLED_BEFORE)
def test_a_crash_at_any_point_changes_no_figure_and_heals(client, old, monkeypatch, step):
    before, calls = shown(client), Counter()

    class Killed(Exception):
        pass

    def deadly(real):
        def call(*args):
            calls["n"] += 1
            if calls["n"] == step:
                raise Killed
            return real(*args)

        return call

    with monkeypatch.context() as patched:
        for name in STEPS:
            patched.setattr(consolidate, name, deadly(getattr(consolidate, name)))
        with pytest.raises(Killed):
            consolidate.consolidate(client, NOW_US)
    assert shown(client) == before
    consolidate.consolidate(client, NOW_US)
    assert shown(client) == before
    assert rows_of(client, "log != '' AND minute < now() - INTERVAL 20 DAY") == dict.fromkeys(rollups.ROLLUPS, 0)
    assert client.command("SELECT count() FROM corrections") == 0


def test_an_old_epoch_that_is_folded_again_doubles_nothing(client, old):
    consolidate.consolidate(client, NOW_US)
    before = shown(client)
    # A worker without a commit, or one whose group was set back: it takes the partition up at an old offset.
    old.taken_up(0, 40)
    assert rows_of(client, "log != '' AND minute < now() - INTERVAL 20 DAY")[Log.LATENCY_1M] > 0
    assert shown(client) == before
    done = consolidate.consolidate(client, NOW_US)
    assert {d.corrected for d in done if d.rollup is Log.LATENCY_1M} == {0}
    assert shown(client) == before
    assert rows_of(client, "log != '' AND minute < now() - INTERVAL 20 DAY") == dict.fromkeys(rollups.ROLLUPS, 0)
    assert client.command("SELECT count() FROM corrections") == 0


def test_what_arrives_for_a_merged_day_is_counted_by_a_correction_that_is_reported(client, old):
    consolidate.consolidate(client, NOW_US)
    late = talk(OLD_US, turns=2)
    elsewhere = [said(ev.new_call_id(OLD_US), ev.LoopDetected, 0, OLD_US, turn=1, node="greet", repeats=3)]
    old.take(1, [*late, *elsewhere])
    consolidate.consolidate(client, NOW_US)
    truth = rollups.recounted(client, *hour_of(OLD_US))
    assert rollups.stored(client, *hour_of(OLD_US)) == truth
    assert sum(truth[k].total() for k in truth if k[0] is Log.QUALITY_1M and k[-1] == "loops") == 1
    told = query.rows(
        client, "SELECT rollup_table AS at, dimensions, sum(after - before) AS more FROM corrections GROUP BY ALL"
    )
    assert {(r["at"], r["dimensions"][-1]): r["more"] for r in told} == {
        ("latency_1m_log", ""): 2, ("quality_1m_log", "turns"): 2, ("quality_1m_log", "calls_started"): 1,
        ("quality_1m_log", "loops"): 1,
    }  # fmt: skip
    assert rows_of(client, "log != '' AND minute < now() - INTERVAL 20 DAY") == dict.fromkeys(rollups.ROLLUPS, 0)
    assert consolidate.consolidate(client, NOW_US) == []


def test_rows_that_come_while_a_day_is_merged_stay_until_the_next_run(client, old, monkeypatch):
    real, late = consolidate._unequal, talk(OLD_US, turns=2)
    times = Counter()

    def meanwhile(*args):
        times["n"] += 1
        if times["n"] == 2:  # after the merge, before the proof
            old.take(2, late)
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(consolidate, "_unequal", meanwhile)
        done = consolidate.consolidate(client, NOW_US)
    assert [d.proven for d in done].count(False) == 1
    consolidate.consolidate(client, NOW_US)
    assert rollups.stored(client, *hour_of(OLD_US)) == rollups.recounted(client, *hour_of(OLD_US))


def test_a_row_written_by_hand_supersedes_nothing_that_was_merged(client, old):
    """The guard of these tests: without the rule of the views this row would count twice."""
    consolidate.consolidate(client, NOW_US)
    before = shown(client)
    key = rollups.stored(client, *hour_of(OLD_US))
    one = next(k for k in key if k[0] is Log.LATENCY_1M)
    row = RollupRow(one, "log-a", 0, 0, 10**6, {1: 99})
    old.tables.perform(Place(Topic.CALLS.value, "log-a", 0, 0), WriteRollups((row,)))
    assert shown(client) == before
