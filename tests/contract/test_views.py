"""Every public view is right between flushes and before merges, against an oracle that folds in Python."""

import datetime as dt
import random
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import query
from ingest.sketch import bucket_of, quantile
from ingest.store.calls import KEYS_PER_STATEMENT_MAX, derive_calls
from ingest.store.writer import Writer
from ingest.tables import COLUMNS, Log, View
from runtime import events as ev

DAY = dt.datetime.now(dt.UTC).date()
NOON = dt.datetime.combine(DAY, dt.time(12), dt.UTC)
NOON_US = int(NOON.timestamp() * 1_000_000)
MINUTE = dt.timedelta(minutes=1)

RAW = {
    View.TURNS: Log.TURNS,
    View.SPANS: Log.SPANS,
    View.GLITCHES: Log.GLITCHES,
    View.TOOL_CALLS: Log.TOOL_CALLS,
    View.EVENTS: Log.EVENTS,
}


@pytest.fixture
def unmerged(client):
    """Merges stand still, so that only the views can be right."""
    client.command("SYSTEM STOP MERGES")
    yield client
    client.command("SYSTEM START MERGES")


def after_merges(client):
    client.command("SYSTEM START MERGES")
    for log in Log:
        client.command(f"OPTIMIZE TABLE {log} FINAL")
    client.command("SYSTEM STOP MERGES")


def parts(client, log):
    return client.command(f"SELECT count() FROM system.parts WHERE active AND table = '{log}'")


def redelivered(seed):
    """Deliveries of a few identities, each with other contents, in any order: {identity, position, …}."""
    rng = random.Random(seed)
    places = [(generation, offset) for generation in range(3) for offset in range(40)]
    rng.shuffle(places)
    return [
        {
            "tenant": rng.choice(["acme", "umbrella"]),
            "day": DAY - dt.timedelta(days=rng.randrange(2)),
            "stream": rng.choice(["call-1", "call-2"]),
            "source": rng.choice(["runtime", "audio"]),
            "seq": rng.randrange(4),
            "at": NOON + dt.timedelta(seconds=rng.randrange(100)),
            "generation": generation,
            "offset": offset,
            "log": f"topic-{generation}",
            "turn": rng.randrange(1000),
            "outcome": rng.choice(list(ev.Outcome)),
            "payload": f'{{"n":{rng.randrange(10**9)}}}',
        }
        for generation, offset in places[:100]
    ]


def identity(row):
    return row["tenant"], row["day"], row["stream"], row["source"], row["seq"]


def first_deliveries(deliveries):
    kept = {}
    for row in sorted(deliveries, key=lambda r: (r["generation"], r["offset"]), reverse=True):
        kept[identity(row)] = row
    return kept


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("view", RAW)
def test_the_first_delivery_survives_in_any_order_across_a_wiped_broker(unmerged, arrow, view, seed):
    log, deliveries, writer = RAW[view], redelivered(seed), Writer(unmerged)
    for start in range(0, len(deliveries), 7):
        writer.insert(log, arrow(log, *deliveries[start : start + 7]))
    assert parts(unmerged, log) > 10
    stream = "stream" if view is View.EVENTS else "call_id"
    measure = "payload" if view is View.EVENTS else "turn"
    columns = f"tenant, day, {stream} AS stream, source, seq, at, {measure}"
    half = NOON + dt.timedelta(seconds=50)
    for _ in ("before merges", "after"):
        oracle = {k: (r["at"], r[measure]) for k, r in first_deliveries(deliveries).items()}
        found = {identity(r): (r["at"], r[measure]) for r in query.rows(unmerged, f"SELECT {columns} FROM {view}")}
        assert found == oracle
        assert unmerged.command(f"SELECT count() FROM {view}") == len(oracle)
        late = query.rows(unmerged, f"SELECT {columns} FROM {view} WHERE at >= {{half:DateTime64(6)}}", {"half": half})
        assert {identity(r) for r in late} == {k for k, (at, _) in oracle.items() if at >= half}
        after_merges(unmerged)


def test_log_order_and_hash_in_events_are_those_of_the_first_delivery(unmerged, arrow):
    writer = Writer(unmerged)
    for offset, payload in ((9, '{"b":2}'), (4, '{"a":1}'), (7, '{"c":3}')):
        writer.insert(Log.EVENTS, arrow(Log.EVENTS, {"offset": offset, "payload": payload}))
    sql = "SELECT offset, log, partition, payload, payload_hash = sipHash64(payload) AS fits FROM events"
    kept = {"offset": 4, "log": "topic-a", "partition": 0, "payload": '{"a":1}', "fits": 1}
    assert query.rows(unmerged, sql) == [kept]
    assert query.rows(unmerged, f"{sql} WHERE offset > 4") == []  # a filter on offsets applies after the collapse


def test_an_insert_repeated_or_cut_differently_changes_nothing(unmerged, arrow):
    writer, rows = Writer(unmerged), [{"seq": n, "offset": n} for n in range(30)]
    for cut in (30, 30, 7):
        for start in range(0, 30, cut):
            writer.insert(Log.TURNS, arrow(Log.TURNS, *rows[start : start + cut]))
    assert unmerged.command("SELECT count() FROM turns") == 30


@pytest.mark.parametrize("seed", range(3))
def test_latency_adds_up_the_last_version_of_every_epoch(unmerged, arrow, seed):
    rng = random.Random(seed)
    rows, oracle = [], Counter()
    for component in ("tts", "asr"):
        for minute in range(2):
            for log, partition, epoch in (("a", 0, 0), ("a", 0, 1), ("a", 1, 0), ("b", 0, 0)):
                folded: Counter[int] = Counter()
                for flush in range(4):
                    folded.update(bucket_of([rng.randrange(10**6) for _ in range(20)]).tolist())
                    place = {"component": component, "minute": NOON + minute * MINUTE, "log": log}
                    place |= {"partition": partition, "epoch": epoch, "version": flush * 100}
                    rows.append(place | {"buckets": dict(folded)})
                oracle.update({(component, NOON + minute * MINUTE, b): n for b, n in folded.items()})
    rng.shuffle(rows)
    for start in range(0, len(rows), 5):
        Writer(unmerged).insert(Log.LATENCY_1M, arrow(Log.LATENCY_1M, *rows[start : start + 5]))
    assert parts(unmerged, Log.LATENCY_1M) > 5
    for _ in ("before merges", "after"):
        found = query.rows(unmerged, "SELECT * FROM latency_1m")
        assert len(found) == 4
        for row in found:
            buckets = {b: n for (c, m, b), n in oracle.items() if (c, m) == (row["component"], row["minute"])}
            assert row["buckets"] == buckets
            assert row["n"] == sum(buckets.values())
            for q, name in ((0.5, "p50_us"), (0.9, "p90_us")):
                assert row[name] == pytest.approx(quantile(buckets, q), rel=1e-12)
        after_merges(unmerged)
    sql = "SELECT component, quantile_us(sumMap(buckets), 0.9) AS p90 FROM latency_1m GROUP BY component"
    for row in query.rows(unmerged, sql):
        both: Counter[int] = Counter()
        for (component, _, bucket), n in oracle.items():
            both[bucket] += n if component == row["component"] else 0
        assert row["p90"] == pytest.approx(quantile(both, 0.9), rel=1e-12)


@given(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=50), st.floats(0, 1))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_quantile_in_sql_python_and_numpy_agree(store_url, client, latencies, q):
    counted = Counter(bucket_of(latencies).tolist())
    sql = "SELECT quantile_us(mapFromArrays({b:Array(Int16)}, {n:Array(UInt32)}), {q:Float64}) AS value"
    params = {"b": list(counted), "n": list(counted.values()), "q": q}  # in no order
    value = query.rows(client, sql, params)[0]["value"]
    assert value == pytest.approx(quantile(counted, q), rel=1e-12)
    assert value == pytest.approx(float(np.quantile(latencies, q, method="lower")), rel=0.01)


def test_nothing_counted_has_no_quantile_in_sql(client):
    assert query.rows(
        client, "SELECT quantile_us(CAST(map(), 'Map(Int16, UInt32)'), 0.5) AS v, quantile_us(map(3, 0), 0.5) AS w"
    ) == [{"v": None, "w": None}]


def call_events(call, *, ended=True, source="runtime"):
    """A call in the contract's own words, in the order of its seq."""
    head = {"stream": call, "source": source, "v": 1, "tenant": "acme", "campaign": "spring", "agent": "booker"}
    head |= {"agent_version": "7", "env": "test", "lead": "l-1"}
    turn = {"turn": 1}
    said = [
        (ev.CallStarted, {"direction": ev.Direction.OUTBOUND}),
        (ev.TurnEnded, turn | {"outcome": ev.Outcome.ANSWERED}),
        (ev.DispositionSet, {"disposition": "callback"}),
        (ev.TurnEnded, turn | {"outcome": ev.Outcome.DISAPPEARED}),
        (ev.GlitchDetected, turn | {"detector": ev.Detector.PLAYOUT, "kind": ev.GlitchKind.UNDERRUN, "gap_ms": 40.0}),
        (ev.TurnEnded, turn | {"outcome": ev.Outcome.INTERRUPTED}),
        (ev.DispositionSet, {"disposition": "booked"}),
    ]
    if ended:
        said += [(ev.CallEnded, {"reason": ev.EndReason.AGENT_ENDED}), (ev.SourceClosed, {"last_seq": 8})]
    return [kind(**head, seq=n, at=NOON_US + n * 1000, **more) for n, (kind, more) in enumerate(said)]


def store_events(client, arrow, events, offset=0):
    rows = [
        {
            "stream": e.stream,
            "source": e.source,
            "seq": e.seq,
            "at": dt.datetime.fromtimestamp(e.at / 1e6, dt.UTC),
            "type": type(e).__name__,
            "payload": ev.encode(e).decode(),
            "offset": offset + n,
        }
        for n, e in enumerate(events)
    ]
    Writer(client).insert(Log.EVENTS, arrow(Log.EVENTS, *rows))


WHOLE = {
    **{"tenant": "acme", "day": DAY, "call_id": "call-1", "campaign": "spring", "agent": "booker"},
    **{"agent_version": "7", "env": "test", "lead": "l-1", "direction": "outbound", "started_at": NOON},
    **{"ended_at": NOON + dt.timedelta(milliseconds=7), "end_reason": "agent_ended", "disposition": "booked"},
    **{"turns": 3, "disappeared": 1, "interrupted": 1, "glitches": 1, "events": 9},
}
KEY = ("acme", DAY, "call-1")


def test_a_call_grows_with_its_events_and_never_shrinks(unmerged, arrow):
    events = call_events("call-1")
    store_events(unmerged, arrow, events[2:4], offset=2)
    derive_calls(unmerged, [KEY])
    early = query.rows(unmerged, "SELECT * FROM calls")[0]
    assert (early["started_at"], early["ended_at"], early["direction"]) == (None, None, "")
    assert (early["disposition"], early["turns"], early["events"]) == ("callback", 1, 2)
    store_events(unmerged, arrow, events)  # with the two again
    derive_calls(unmerged, [KEY, KEY])
    assert query.rows(unmerged, "SELECT * FROM calls") == [WHOLE]
    stale = "INSERT INTO calls_log SELECT * FROM calls_log WHERE version = 2"
    unmerged.command(stale)  # a worker that was slow to flush
    assert query.rows(unmerged, "SELECT * FROM calls") == [WHOLE]
    after_merges(unmerged)
    assert query.rows(unmerged, "SELECT * FROM calls") == [WHOLE]


@pytest.mark.parametrize("order", [1, -1])
def test_the_last_disposition_counts_whatever_arrived_last(unmerged, arrow, order):
    for n, event in enumerate(call_events("call-1")[::order]):
        store_events(unmerged, arrow, [event], offset=n)
        derive_calls(unmerged, [KEY])
    assert query.rows(unmerged, "SELECT * FROM calls") == [WHOLE]


def test_more_calls_than_a_statement_takes_are_derived_and_others_left_alone(unmerged, arrow):
    calls = [f"it's call-{n}" for n in range(KEYS_PER_STATEMENT_MAX + 3)]
    store_events(unmerged, arrow, [e for c in [*calls, "bystander"] for e in call_events(c)[:2]])
    derive_calls(unmerged, [("acme", DAY, c) for c in calls])
    assert {r["call_id"] for r in query.rows(unmerged, "SELECT call_id FROM calls")} == set(calls)


STEPS = {
    View.NODES: (ev.NodeEntered, {"turn": 2, "node": "slot"}, {"turn": 2, "node": "slot"}),
    View.SPEECH: (
        ev.SpeechEnded,
        {"turn": 2, "speaker": ev.Speaker.CALLER, "duration_us": 4000},
        {"turn": 2, "speaker": "caller", "duration_us": 4000, "started_at": NOON},
    ),
}


@pytest.mark.parametrize("view", STEPS)
def test_a_view_over_events_shows_its_type_alone_and_its_first_delivery(unmerged, arrow, view):
    kind, payload, columns = STEPS[view]
    head = {"stream": "call-1", "source": "runtime", "v": 1, "tenant": "acme", "campaign": "spring", "agent": "booker"}
    first = kind(**head, agent_version="7", seq=3, at=NOON_US + 4000, **payload)
    store_events(unmerged, arrow, [first], offset=3)
    store_events(unmerged, arrow, call_events("call-1")[4:])
    other = kind(**head, seq=3, at=NOON_US, **payload | {"turn": 9})
    store_events(unmerged, arrow, [other], offset=50)  # the same identity again, with other words
    taken = kind(**head, seq=4, at=NOON_US, **payload)
    store_events(unmerged, arrow, [taken], offset=60)  # an identity that another type had first
    common = {"tenant": "acme", "day": DAY, "call_id": "call-1", "source": "runtime", "seq": 3}
    common |= {"at": NOON + dt.timedelta(milliseconds=4), "campaign": "spring", "agent": "booker", "agent_version": "7"}
    for _ in ("before merges", "after"):
        assert query.rows(unmerged, f"SELECT * FROM {view}") == [common | columns]
        assert unmerged.command(f"SELECT count() FROM {view} WHERE turn = 9") == 0
        after_merges(unmerged)


@pytest.mark.parametrize("view", STEPS)
def test_counting_in_a_view_over_events_reads_no_payload(client, arrow, view):
    Writer(client).insert(Log.EVENTS, arrow(Log.EVENTS, {}))
    plan = "\n".join(r[0] for r in client.query(f"EXPLAIN header = 1 SELECT count() FROM {view}").result_rows)
    assert "type LowCardinality(String)" in plan
    assert "payload" not in plan


def test_a_source_is_complete_when_all_it_said_is_stored(unmerged, arrow):
    sql = "SELECT call_id, source, stored, said, complete FROM sources ORDER BY call_id, source"
    closed, unclosed = call_events("call-1"), call_events("call-2", ended=False, source="audio")
    store_events(unmerged, arrow, closed[:3] + closed[4:])
    store_events(unmerged, arrow, closed[4:], offset=100)  # again
    store_events(unmerged, arrow, unclosed, offset=200)
    silent = {"call_id": "call-2", "source": "audio", "stored": 7, "said": None, "complete": 0}
    gap = {"call_id": "call-1", "source": "runtime", "stored": 8, "said": 9, "complete": 0}
    assert query.rows(unmerged, sql) == [gap, silent]
    store_events(unmerged, arrow, closed[3:4], offset=300)
    assert query.rows(unmerged, sql) == [gap | {"stored": 9, "complete": 1}, silent]
    after_merges(unmerged)
    assert query.rows(unmerged, sql) == [gap | {"stored": 9, "complete": 1}, silent]


def test_where_a_row_came_from_is_shown_in_events_alone():
    inside = {"log", "partition", "offset", "first", "arrived", "version"}
    for view, columns in COLUMNS.items():
        assert not (inside & set(columns)) or view is View.EVENTS
    assert "first" not in COLUMNS[View.EVENTS]


def test_deriving_and_reading_one_call_reads_one_day(store_url, client, arrow):
    for back in range(3):
        Writer(client).insert(Log.EVENTS, arrow(Log.EVENTS, {"day": DAY - dt.timedelta(days=back)}))
    with closing(query.connect(store_url)) as own:
        where = "(tenant, day, stream) IN {keys:Array(Tuple(String, Date, String))}"
        sql = f"EXPLAIN indexes = 1 SELECT count() FROM events WHERE {where}"
        plan = str(own.query(sql, parameters={"keys": [KEY]}).result_rows)
    assert "Parts: 1/3" in plan


def test_a_profile_that_lets_final_skip_granules_changes_no_answer(client, arrow):
    """20,000 events, all delivered twice: those of the second delivery survive nowhere."""
    client.command(f"SYSTEM STOP MERGES {Log.EVENTS}")
    twice = [[{"seq": i, "offset": base + i} for i in range(20_000)] for base in (0, 100_000)]
    for delivered in twice:
        Writer(client).insert(Log.EVENTS, arrow(Log.EVENTS, *delivered))
    hostile = {"use_skip_indexes_if_final": 1, "use_skip_indexes_if_final_exact_mode": 0}
    found = client.query("SELECT count(), countIf(offset >= 100000) FROM events", settings=hostile).result_rows
    late = client.query("SELECT count() FROM events WHERE offset >= 100000", settings=hostile).result_rows
    client.command(f"SYSTEM START MERGES {Log.EVENTS}")
    assert (found, late) == ([(20_000, 0)], [(0,)])
