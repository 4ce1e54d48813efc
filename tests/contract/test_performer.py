"""The real tables answer and keep as the world of tests/property does: what is proved there holds for this SQL."""

import random
import threading
import time
from collections import Counter

import pytest

from ingest import query
from ingest.effects import FindLast, Lookup, Restore, RollupRow, Write, WriteRollups
from ingest.errors import StoreRefused
from ingest.measures import latency_key
from ingest.position import first_of, position_of
from ingest.projection import Record, project
from ingest.store.performer import STREAMS_PER_QUERY_MAX, Place, Tables
from ingest.tables import Log
from runtime import events as ev
from runtime.events import Reason, Topic

NOW_US = time.time_ns() // 1000
DAY_US = 86_400 * 1_000_000
LOGS = ("log-a", "log-b", "log-c")


def span(stream, seq, at=NOW_US, duration_us=1_000, **more):
    return ev.SpanEnded(
        **{"stream": stream, "source": "runtime", "seq": seq, "at": at, "v": 1, "tenant": "acme", **more},
        campaign="c",
        span=1,
        turn=1,
        component="tts",
        duration_us=duration_us,
    )


def items(*placed, arrived_ms=NOW_US // 1000, topic=Topic.CALLS):
    """Items of (offset, event) pairs."""
    values = [value if isinstance(value, bytes) else ev.encode(value) for _, value in placed]
    return project([Record(o, arrived_ms, v) for (o, _), v in zip(placed, values, strict=True)], topic, judged=False)


def written(its, generation=0):
    return Write(tuple(its), tuple(first_of(position_of(generation, i.offset)) for i in its), frozenset())


def place_of(generation, partition):
    return Place(Topic.CALLS.value, LOGS[generation], generation, partition)


@pytest.fixture
def tables(client):
    tables = Tables(client)
    assert [tables.generation(Topic.CALLS.value, log) for log in LOGS] == [0, 1, 2]
    return tables


class Reference:
    """ReplacingMergeTree after all merges, by dictionaries."""

    def __init__(self):
        self.raw = {}  # identity → (position, partition, item)
        self.delivered = set()  # (partition, position)
        self.rollups = {}

    def write(self, generation, partition, its):
        for item in its:
            position = position_of(generation, item.offset)
            self.delivered.add((partition, position))
            kept = self.raw.get(item.identity)
            if kept is None or position <= kept[0]:
                self.raw[item.identity] = (position, partition, item)

    def roll_up(self, row):
        key = (row.key, row.log, row.partition, row.epoch)
        if key not in self.rollups or row.version >= self.rollups[key][0]:
            self.rollups[key] = (row.version, row.counts)

    def last(self, partition, before, collapsed):
        rows = {(p, at) for at, p, _ in self.raw.values()} if collapsed else self.delivered
        return max((at for p, at in rows if p == partition and at < before), default=None)

    def restored(self, partition, start, stop):
        return sorted((i for at, p, i in self.raw.values() if p == partition and start <= at < stop), key=_offset)

    def known(self, streams, before):
        return {k for k, (at, _, i) in self.raw.items() if i.stream_key in streams and at < before}

    def counted(self):
        total = Counter()
        for _, counts in self.rollups.values():
            total.update(counts)
        return +total


def _offset(item):
    return item.offset


class Run:
    """Random effects on both; a stream stays in its partition, as its key says."""

    def __init__(self, seed, client, tables):
        self.r, self.client, self.tables, self.reference = random.Random(seed), client, tables, Reference()
        days = [NOW_US - n * DAY_US for n in range(3)]
        self.streams = {p: [ev.new_call_id(self.r.choice(days)) for _ in range(5)] for p in (0, 1)}

    def step(self):
        r = self.r
        generation, partition = r.randrange(3), r.randrange(2)
        place = place_of(generation, partition)
        r.choice([self.write, self.write, self.roll_up, self.find, self.restore, self.look, self.merge])(place)

    def write(self, place):
        r = self.r
        offsets = sorted(r.sample(range(60), r.randint(1, 12)))
        # Also what another worker wrote before: the same offset in the same log is always the same record.
        events = [(o, self._event(place, o)) for o in offsets]
        its = items(*events)
        assert self.tables.perform(place, written(its, place.generation)) == {}
        self.reference.write(place.generation, place.partition, its)

    def _event(self, place, offset):
        r = random.Random(f"{place.log}/{place.partition}/{offset}/{self.streams}")
        stream = r.choice(self.streams[place.partition])
        return span(stream, r.randrange(8), duration_us=r.randrange(1, 10**6), source=r.choice(["runtime", "audio"]))

    def roll_up(self, place):
        r = self.r
        key = latency_key(span("", 0, at=NOW_US + r.randrange(2) * 60_000_000))
        counts = {r.randrange(5): r.randrange(1, 9) for _ in range(r.randrange(4))}
        # A version says how far it folded, so two rows of one version hold the same.
        epoch, version = r.randrange(2), len(self.reference.rollups) * 1_000 + r.randrange(1_000)
        row = RollupRow(key, place.log, place.partition, epoch, version, counts)
        known = self.reference.rollups.get((key, place.log, place.partition, epoch))
        if known and known[0] == version:
            return
        self.tables.perform(place, WriteRollups((row,)))
        self.reference.roll_up(row)

    def find(self, place):
        before = position_of(place.generation, self.r.randrange(62))
        found = self.tables.perform(place, FindLast(before))
        lowest = self.reference.last(place.partition, before, collapsed=True)
        highest = self.reference.last(place.partition, before, collapsed=False)
        if highest is None:
            assert found is None
        else:  # a repeat counts until it is merged away; the core may be told of either
            assert found.log == LOGS[found.position >> 48]
            assert (place.partition, found.position) in self.reference.delivered
            assert (lowest or 0) <= found.position <= highest

    def restore(self, place):
        start = position_of(place.generation, self.r.randrange(50))
        stop = start + self.r.randint(1, 30)
        found = self.tables.perform(place, Restore(start, stop))
        expected = self.reference.restored(place.partition, start, stop)
        assert found == expected

    def look(self, place):
        streams = frozenset(("acme", i.day, i.stream) for i in items((0, span(self._one(place), 0))))
        before = position_of(place.generation, self.r.randrange(62))
        found = self.tables.perform(place, Lookup(streams, before))
        assert len(found) == len(set(found))
        assert set(found) == self.reference.known(streams, before)

    def _one(self, place):
        return self.r.choice(self.streams[place.partition])

    def merge(self, _):
        self.client.command(f"OPTIMIZE TABLE {self.r.choice([Log.EVENTS, Log.SPANS, Log.LATENCY_1M])} FINAL")

    def compare_views(self):
        reference = self.reference
        rows = query.rows(self.client, "SELECT stream, source, seq, payload, offset, partition, log FROM events")
        found = {
            (r["stream"], r["source"], r["seq"]): (r["payload"].encode(), r["offset"], r["partition"], r["log"])
            for r in rows
        }
        assert found == {k[2:]: (i.row.payload, i.offset, p, LOGS[at >> 48]) for k, (at, p, i) in reference.raw.items()}
        durations = query.rows(self.client, "SELECT call_id, source, seq, duration_us FROM spans")
        assert {(r["call_id"], r["source"], r["seq"]): r["duration_us"] for r in durations} == {
            k[2:]: i.row.event.duration_us for k, (_, _, i) in reference.raw.items()
        }
        derived = {r["call_id"]: r["events"] for r in query.rows(self.client, "SELECT call_id, events FROM calls")}
        assert derived == Counter(k[2] for k in reference.raw)
        counted = Counter()
        for row in query.rows(self.client, "SELECT buckets FROM latency_1m"):
            counted.update(row["buckets"])
        assert +counted == reference.counted()


@pytest.mark.parametrize("seed", range(3))
def test_random_effects_answer_and_leave_what_the_reference_does(client, tables, seed):
    run = Run(seed, client, tables)
    for _ in range(40):
        run.step()
    run.compare_views()


def test_bounds_are_strict(tables):
    call = ev.new_call_id(NOW_US)
    its = items(*((o, span(call, o)) for o in (0, 5, 9)))
    here = place_of(1, 0)
    tables.perform(here, written(its, 1))
    at = [position_of(1, o) for o in (0, 5, 9)]
    assert tables.perform(here, FindLast(at[0])) is None
    assert [tables.perform(here, FindLast(before)).position for before in (*at[1:], at[2] + 1)] == at
    assert tables.perform(here, Restore(at[0], at[2])) == its[:2]
    assert tables.perform(here, Restore(at[1], at[2] + 1)) == its[1:]
    assert tables.perform(here, Restore(at[0] + 1, at[1])) == []
    streams = frozenset({its[0].stream_key})
    assert sorted(i[4] for i in tables.perform(here, Lookup(streams, at[1]))) == [0]
    assert sorted(i[4] for i in tables.perform(here, Lookup(streams, at[1] + 1))) == [0, 5]


def test_a_repeat_in_the_open_epoch_does_not_bring_back_its_original_of_before(tables):
    call, here = ev.new_call_id(NOW_US), place_of(0, 0)
    tables.perform(here, written(items((3, span(call, 0)), (60, span(call, 0)), (61, span(call, 1)))))
    assert [i.offset for i in tables.perform(here, Restore(50, 70))] == [61]


def test_an_earlier_delivery_that_arrives_later_takes_the_place_of_the_first(tables, client):
    call, here = ev.new_call_id(NOW_US), place_of(0, 0)
    for offset, duration_us in ((9, 900), (4, 400), (7, 700)):
        tables.perform(here, written(items((offset, span(call, 0, duration_us=duration_us)))))
    assert query.rows(client, "SELECT duration_us FROM spans") == [{"duration_us": 400}]
    assert [i.offset for i in tables.perform(here, Restore(0, 10))] == [4]


def test_a_later_log_comes_after_every_offset_of_the_one_before(tables, client):
    call = ev.new_call_id(NOW_US)
    tables.perform(place_of(0, 0), written(items((2**40, span(call, 0, duration_us=1)))))
    tables.perform(place_of(1, 0), written(items((0, span(call, 0, duration_us=2))), 1))
    assert query.rows(client, "SELECT duration_us FROM spans") == [{"duration_us": 1}]
    last = tables.perform(place_of(1, 0), FindLast(position_of(1, 0)))
    assert (last.log, last.position) == ("log-a", 2**40)
    fresh = Tables(client)  # it has not registered any log itself
    assert fresh.perform(place_of(1, 0), FindLast(position_of(1, 0))) == last


def test_the_highest_offset_is_that_of_one_partition_of_one_log(tables):
    call = ev.new_call_id(NOW_US)
    assert tables.highest_offset(place_of(0, 0)) == -1
    tables.perform(place_of(0, 0), written(items((0, span(call, 0)))))
    assert tables.highest_offset(place_of(0, 0)) == 0
    tables.perform(place_of(1, 0), written(items((7, span(call, 1))), 1))
    tables.perform(place_of(0, 1), written(items((8, span(ev.new_call_id(NOW_US), 1)))))
    assert [tables.highest_offset(place_of(*p)) for p in ((0, 0), (1, 0), (0, 1), (2, 0))] == [0, 7, 8, -1]


def test_more_streams_than_one_query_takes_are_asked_in_several(tables):
    calls = [ev.new_call_id(NOW_US) for _ in range(2 * STREAMS_PER_QUERY_MAX + 1)]
    # The longest that the contract allows, and the widest in a request line.
    its = items(
        *((o, span(call, 0, tenant="\U0001f4de" * 128, source="\U0001f4de" * 64)) for o, call in enumerate(calls))
    )
    here = place_of(0, 0)
    assert tables.perform(here, written(its)) == {}
    found = tables.perform(here, Lookup(frozenset(i.stream_key for i in its), len(calls)))
    assert set(found) == {i.identity for i in its}
    assert tables.stored_payloads(place_of(0, 0), its) == {i.identity: i.row.payload for i in its}


def test_the_payload_that_survives_is_told_byte_by_byte(tables):
    call, here = ev.new_call_id(NOW_US), place_of(0, 0)
    plain = ev.encode(span(call, 0, source="ünïcode"))
    odd = plain[:-1] + b',"of_a_newer_writer":"\\u0000\\ud83d\\ude00"}'
    first, second = items((0, odd), (1, plain))
    tables.perform(here, written([first, second]))
    assert tables.stored_payloads(place_of(0, 0), [second, *items((2, span(call, 1)))]) == {first.identity: odd}
    assert tables.perform(here, Restore(0, 9)) == [first]


# ── what the store refuses ──


def _unfit(call):
    """Events that JSON can say and the tables cannot hold."""
    turn = ev.TurnEnded(
        stream=call, source="turns", seq=0, at=NOW_US, v=1, tenant="acme", campaign="c", turn=1,
        outcome=ev.Outcome.ANSWERED, unattributed_us=1,
    )  # fmt: skip
    return {
        "bytes that are no text": ev.encode(turn)[:-1] + b',"of_a_newer_writer":"\xff"}',
        "a day beyond its column": ev.encode(span(ev.new_call_id(70_000 * DAY_US), 99)),
    }


@pytest.mark.parametrize("what", _unfit(""))
@pytest.mark.parametrize("where", [0, 13])
def test_one_row_that_cannot_be_stored_is_named_and_the_others_are_stored(tables, client, what, where):
    call = ev.new_call_id(NOW_US)
    placed = [(o, span(call, o)) for o in range(20)]
    unfit = _unfit(call)[what]
    placed.insert(where, (50, unfit))
    its = items(*placed)
    refused = tables.perform(place_of(0, 0), written(its))
    assert set(refused) == {50}
    assert refused[50].reason is Reason.REFUSED_BY_STORE
    assert refused[50].value == unfit
    assert "newer" not in refused[50].detail
    assert client.command("SELECT count() FROM events") == client.command("SELECT count() FROM spans") == 20
    assert client.command("SELECT events FROM calls") == 20


def test_what_is_written_of_several_partitions_at_once_is_refused_where_it_is_at_fault(tables, client):
    calls = [ev.new_call_id(NOW_US) for _ in range(3)]
    its = [items(*((o, span(call, o)) for o in range(4))) for call in calls]
    its[1] += items((9, _unfit(calls[1])["bytes that are no text"]))
    work = [(place_of(0, n), written(rows)) for n, rows in enumerate(its)]
    assert [set(refused) for refused in tables.perform_all(work)] == [set(), {9}, set()]
    places = client.query("SELECT partition, groupArray(offset) FROM events GROUP BY partition ORDER BY partition")
    assert [(p, sorted(o)) for p, o in places.result_rows] == [(n, [0, 1, 2, 3]) for n in range(3)]
    assert client.query("SELECT call_id, events FROM calls ORDER BY call_id").result_rows == [
        (call, 4) for call in sorted(calls)
    ]


def test_partitions_that_are_written_together_stand_as_those_that_are_written_one_by_one(store_url, tables, client):
    its = [items(*((o, span(ev.new_call_id(NOW_US), o)) for o in range(5))) for _ in range(3)]
    statements = "SELECT sum(value) FROM system.events WHERE event = 'InsertQuery'"
    before = int(str(client.command(statements)))
    assert tables.perform_all([(place_of(0, n), written(rows)) for n, rows in enumerate(its)]) == [{}, {}, {}]
    assert int(str(client.command(statements))) - before == 3  # spans, events, calls
    for n, rows in enumerate(its):
        assert tables.perform(place_of(0, n), Restore(0, 10)) == rows


def test_every_day_that_late_events_may_open_fits_into_one_write(tables, client):
    its = items(*((o, span(ev.new_call_id(NOW_US - o * DAY_US), 0)) for o in range(32)))
    assert tables.perform(place_of(0, 0), written(its)) == {}
    assert client.command("SELECT count() FROM events") == client.command("SELECT count() FROM calls") == 32


def test_a_time_of_arrival_that_a_producer_made_up_costs_its_own_record_only(tables, client):
    call, here = ev.new_call_id(NOW_US), place_of(0, 0)
    its = [*items((0, span(call, 0))), *items((1, span(call, 1)), arrived_ms=2**62), *items((2, span(call, 2)))]
    assert set(tables.perform(here, written(its))) <= {1}
    assert client.command("SELECT count() FROM events WHERE offset != 1") == 2


def test_rows_that_are_refused_all_are_all_named(tables, client):
    call = ev.new_call_id(NOW_US)
    unfit = _unfit(call)["bytes that are no text"]
    its = items(*((o, unfit) for o in range(9)))
    assert set(tables.perform(place_of(0, 0), written(its))) == set(range(9))
    assert client.command("SELECT count() FROM calls") == 0


def test_a_table_that_is_missing_is_not_blamed_on_the_rows(store_url, tables, client):
    client.command(f"RENAME TABLE {Log.SPANS} TO elsewhere")
    try:
        with pytest.raises(StoreRefused):
            tables.perform(place_of(0, 0), written(items((0, span(ev.new_call_id(NOW_US), 0)))))
    finally:
        client.command(f"RENAME TABLE elsewhere TO {Log.SPANS}")
    assert client.command("SELECT count() FROM events") == 0  # the events come last: where one is, all its rows are


def test_one_client_serves_several_threads(tables, client):
    """A call that was given up on runs on in its thread while the next one begins."""
    failed = []

    def write(partition):
        try:
            for n in range(5):
                its = items(*((n * 10 + k, span(calls[partition], n * 10 + k)) for k in range(10)))
                tables.perform(place_of(0, partition), written(its))
                tables.perform(place_of(0, partition), Lookup(frozenset({its[0].stream_key}), 10**6))
        except Exception as error:  # noqa: BLE001  whatever it is
            failed.append(error)

    calls = [ev.new_call_id(NOW_US) for _ in range(3)]
    threads = [threading.Thread(target=write, args=(p,)) for p in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert client.command("SELECT count() FROM events") == 150
