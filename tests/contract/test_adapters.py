"""Both adapters carry the log into the tables with the effect of exactly once, whatever is killed or said twice."""

import random
import time
from collections import Counter, defaultdict
from contextlib import closing, contextmanager
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from ingest import query
from ingest.sketch import ALPHA
from ingest.stream.letters import CONTENT_BYTES_MAX
from runtime import events as ev
from runtime.emit import Context, MemoryLog, Recorder
from tests.contract.ground import house_on, until
from tests.contract.grounds import GROUNDS, ground_named
from tests.contract.processes import Store

SECOND_US = 1_000_000
COMPONENTS = ("asr", "response", "tts")


def calls(count, seed=0):
    """(key, value) pairs of whole calls, two sources each, interleaved as live calls are."""
    r, now_us = random.Random(seed), time.time_ns() // 1000
    spoken = []
    for _ in range(count):
        log = MemoryLog()
        context = Context(ev.new_call_id(now_us), "acme", r.choice(["spring", "autumn"]), "booker", variants={"a": "b"})
        runtime, audio = Recorder(log, context, "runtime"), Recorder(log, context, "audio")
        at = now_us - r.randrange(180) * SECOND_US
        runtime.record(ev.CallStarted, at, direction=ev.Direction.INBOUND)
        for turn in range(r.randint(1, 3)):
            for component in COMPONENTS:
                latency_us = int(r.lognormvariate(12, 1))
                runtime.record(
                    ev.SpanEnded, at, span=turn + 1, turn=turn, component=component, model="m", duration_us=latency_us
                )
            runtime.record(ev.TurnEnded, at, turn=turn, outcome=r.choice(list(ev.Outcome)), latency_us=latency_us)
            audio.record(
                ev.GlitchDetected, at, turn=turn, detector=ev.Detector.AUDIO, kind=ev.GlitchKind.UNDERRUN, gap_ms=41.5
            )
        runtime.record(ev.CallEnded, at, reason=ev.EndReason.AGENT_ENDED)
        runtime.close(at)
        audio.close(at)
        spoken.append(log.records(ev.Topic.CALLS))
    produced = []
    while spoken:
        one = r.choice(spoken)
        produced.append(one.pop(0))
        spoken = [s for s in spoken if s]
    return produced


def identity(event):
    return event.stream, event.source, event.seq


def firsts(*produced):
    """The first delivery of every event, by identity."""
    kept = {}
    for records in produced:
        for _, value in records:
            kept.setdefault(identity(ev.decode(value)), value)
    return kept


def faults(url, *produced):
    """How the tables differ from what was produced; empty when they do not. No rollup is judged by another."""
    with closing(query.connect(url)) as client:
        return _faults(client, firsts(*produced))


def _faults(client, kept):
    events = [ev.decode(value) for value in kept.values()]
    said = []
    stored = query.rows(client, "SELECT stream, source, seq, payload FROM events")
    found = {(r["stream"], r["source"], r["seq"]): r["payload"].encode() for r in stored}
    if found != kept:
        said.append(f"{len(kept)} events were said, {len(found)} stored, {len(found.items() & kept.items())} the same")
    incomplete = client.command("SELECT count() FROM sources WHERE NOT complete")
    if incomplete:
        said.append(f"{incomplete} sources are not complete")
    for view, event_type in (("turns", ev.TurnEnded), ("spans", ev.SpanEnded), ("glitches", ev.GlitchDetected)):
        true, there = sum(type(e) is event_type for e in events), client.command(f"SELECT count() FROM {view}")
        if there != true:
            said.append(f"{there} {view}, not {true}")
    of_call = Counter(e.stream for e in events)
    derived = {r["call_id"]: r["events"] for r in query.rows(client, "SELECT call_id, events FROM calls")}
    if derived != of_call:
        said.append(
            f"{len(derived)} calls are derived of {len(of_call)}, {len(derived.items() & of_call.items())} right"
        )
    return said + _rollup_faults(client, events)


def _rollup_faults(client, events):
    latencies = defaultdict(list)
    for e in events:
        if isinstance(e, ev.SpanEnded):
            latencies[e.at // 60_000_000 * 60, e.campaign, e.component].append(e.latency_us)
    said = []
    rows = query.rows(client, "SELECT toUnixTimestamp(minute) AS at, * FROM latency_1m")
    found = {(r["at"], r["campaign"], r["component"]): r for r in rows}
    for key in latencies.keys() | found.keys():
        true, row = latencies[key], found.get(key)
        if row is None or row["n"] != len(true):
            said.append(f"{key} counts {row and row['n']}, not {len(true)}")
            continue
        for q, column in ((0.5, "p50_us"), (0.9, "p90_us")):
            expected = np.quantile(true, q, method="lower")
            if abs(row[column] - expected) > ALPHA * expected * 1.0001:
                said.append(f"{key}: {column} is {row[column]}, numpy says {expected}")
    return said


@pytest.fixture(scope="module", params=GROUNDS)
def ground(request):
    return ground_named(request.param, request)


_houses = iter(range(1_000))


@contextmanager
def _house(store_url, folder, ground):
    """A house with a database of its own."""
    database = f"adapters_{next(_houses)}"
    with closing(query.connect(store_url)) as admin:
        admin.command(f"CREATE DATABASE {database}")
        with house_on(ground, f"{store_url}/{database}", folder) as house:
            yield house
        admin.command(f"DROP DATABASE {database}")


@pytest.fixture
def house(store_url, tmp_path, ground):
    with _house(store_url, tmp_path, ground) as house:
        yield house


# ── one log with all that a producer can do wrong, read by one worker ─────────────────────────────────────────


def _with(value, **fields):
    return msgspec.json.encode({**msgspec.json.decode(value), **fields})


def poison(now_us):
    """Each reason for a dead letter, with a record that has it."""
    context = {"stream": ev.new_call_id(now_us), "source": "runtime", "at": now_us, "v": 1, "tenant": "acme"}
    context["campaign"] = "spring"
    good = ev.encode(ev.NodeEntered(**context, seq=8, turn=1, node="hello"))
    turn = ev.encode(ev.TurnEnded(**context, seq=9, turn=1, outcome=ev.Outcome.ANSWERED, unattributed_us=1))
    return [
        ("malformed", b"not JSON"),
        ("malformed", b""),
        ("malformed", b"x" * 1_000_000),
        ("unknown_type", _with(good, type="MoonLanded")),
        ("unknown_version", _with(good, v=2)),
        ("wrong_topic", ev.encode(ev.WordsHeard(**context, seq=0, turn=1, text="my words"))),
        ("wrong_stream", _with(good, stream="call-1")),
        ("clock", _with(good, at=0)),
        ("clock", _with(good, stream=ev.new_call_id(0))),
        ("invalid", _with(good, turn="one")),
        ("invalid", turn.replace(b'"unattributed_us":1', b'"unattributed_us":%d' % 2**70)),
        ("refused_by_store", turn[:-1] + b',"of_a_newer_writer":"\xff"}'),
        ("refused_by_store", good[:-1] + b',"of_a_newer_writer":"\xff"}'),
    ]


@dataclass
class Mixed:
    """What was produced, and what was there at the end."""

    url: str
    good: list
    poison: list
    conflict: bytes
    repeats: int
    counted: dict
    poisoned: dict  # the poison records by offset
    letters: list
    read_again: float
    exits: dict


@pytest.fixture(scope="module")
def mixed(store_url, tmp_path_factory, ground):
    with _house(store_url, tmp_path_factory.mktemp("mixed"), ground) as house:
        good, more, bad = calls(24), calls(4, seed=1), poison(time.time_ns() // 1000)
        twice = [record for record in good for _ in range(2)]
        key, last = good[-1]
        conflict = _with(last, campaign="other")
        worker = house.worker()
        house.broker.produce(
            [*twice[:200], *(("poison", value) for _, value in bad), *twice[200:], *good[:100], (key, conflict)]
        )
        house.read()
        counted = {name: worker.counted(name) for name in _COUNTED}
        exits = {"flushed": worker.stop()}
        again = house.worker()
        house.broker.produce(more)
        house.read()
        read_again = again.counted(_RECORDS) - len(more)
        poisoned = {r.offset: r.value for r in house.broker.records(ev.Topic.CALLS) if r.key == b"poison"}
        letters = house.letters()
        house.broker.kill()
        exits["without a broker"] = again.stop()
        yield Mixed(
            house.url, good + more, bad, conflict, len(good) + 101, counted, poisoned, letters, read_again, exits
        )


_RECORDS, _DUPLICATES = "turnlog_ingest_records_total", "turnlog_ingest_duplicates_total"
_CONFLICTS, _DEAD = "turnlog_ingest_conflicts_total", "turnlog_ingest_dead_letters_total"
_RETRIES = "turnlog_ingest_retries_total"
_COUNTED = (_RECORDS, _DUPLICATES, _CONFLICTS, _DEAD)


def test_every_event_is_stored_once_and_every_figure_is_that_of_the_produced_events(mixed):
    assert faults(mixed.url, mixed.good) == []


def test_records_that_were_said_twice_are_counted_as_duplicates_and_not_as_events(mixed):
    assert mixed.counted[_DUPLICATES] == mixed.repeats


def test_poison_is_buried_with_its_reason_and_its_origin_and_its_bytes_apart(mixed):
    letters = [(letter, content) for letter, content in mixed.letters if letter.reason != "conflict"]
    expected = Counter((reason, value[:CONTENT_BYTES_MAX]) for reason, value in mixed.poison)
    assert Counter((letter.reason, content) for letter, content in letters) == expected
    values = mixed.poisoned
    assert {letter.offset: letter.size for letter, _ in letters} == {o: len(v) for o, v in values.items()}
    for letter, content in letters:
        assert letter.topic == ev.Topic.CALLS
        assert content == values[letter.offset][:CONTENT_BYTES_MAX]
        assert not any(word in letter.detail for word in ("my words", "MoonLanded"))


def test_another_payload_under_a_known_identity_is_a_conflict_and_the_first_survives(mixed):
    buried = [content for letter, content in mixed.letters if letter.reason == "conflict"]
    assert buried == [mixed.conflict]
    assert mixed.counted[_CONFLICTS] == 1


def test_what_is_asked_to_stop_has_stored_and_committed_what_it_read(mixed):
    assert mixed.exits["flushed"] == 0
    assert mixed.read_again == 0


def test_a_broker_that_is_away_keeps_nobody_from_stopping(mixed):
    assert mixed.exits["without a broker"] == 0


# ── whatever is killed ────────────────────────────────────────────────────────────────────────────────────────


def test_workers_share_the_partitions_and_killing_one_and_then_the_other_costs_nothing(house):
    produced = calls(10)
    pair = [house.worker(), house.worker()]
    house.broker.produce(produced)

    def share():
        if house.broker.committed() == house.broker.ends:  # not faster than they read
            more = calls(4, seed=len(produced))
            produced.extend(more)
            house.broker.produce(more)
        return all(w.said("took up") and w.counted(_RECORDS) > 0 for w in pair)

    until(share, "both store", lambda: "\n".join(w.words() for w in pair))
    more = calls(20, seed=-1)
    house.broker.produce(more)
    pair[0].kill()
    house.read()  # the other one has taken over
    rest = calls(25, seed=-2)
    stored = pair[1].counted(_RECORDS)
    house.broker.produce(rest)
    until(lambda: pair[1].counted(_RECORDS) > stored, "it stores", pair[1].words)
    pair[1].kill()
    assert house.broker.committed() != house.broker.ends  # in the middle of it
    house.worker()
    house.read()
    assert faults(house.url, produced, more, rest) == []


def test_a_wiped_broker_overwrites_nothing_and_what_it_repeats_is_not_counted_twice(house):
    first, second, third, fourth = (calls(12, seed=n) for n in range(4))
    worker = house.worker()
    house.broker.produce(first)
    house.read()
    house.broker.wipe()  # and the worker lives on
    house.broker.produce([*second[:40], *first[:50]])  # fewer than it had read: nothing new at its offset
    house.read()
    house.broker.produce([*second[40:], *third])
    house.read()
    assert worker.alive
    assert faults(house.url, first, second, third) == [], worker.words()
    assert worker.stop() == 0
    house.broker.wipe()  # and nobody is there
    house.broker.produce([*fourth[:50], *first[:100], *fourth[50:]])
    again = house.worker()
    house.read()
    assert faults(house.url, first, second, third, fourth) == []
    assert again.counted(_DUPLICATES) == 100


def test_a_store_that_dies_and_returns_has_lost_and_doubled_nothing(tmp_path, ground):
    first, second, third = calls(12), calls(12, seed=1), calls(12, seed=2)
    with Store(tmp_path / "db") as store, house_on(ground, store.url, tmp_path) as house:
        worker = house.worker(flush=20)
        house.broker.produce(first)
        until(lambda: worker.said("took up") and worker.counted(_RECORDS) > 0, "it stores", worker.words)
        store.kill()
        house.broker.produce(second)
        until(lambda: worker.counted(_RETRIES) > 0, "it waits", worker.words)
        store.start()
        house.read()
        store.kill()
        retries = worker.counted(_RETRIES)
        house.broker.produce(third)
        until(lambda: worker.counted(_RETRIES) > retries, "it waits", worker.words)
        assert worker.stop() == 0  # though nobody takes its last flush
        assert house.broker.committed() != house.broker.ends
        store.start()
        house.worker()
        house.read()
        assert faults(store.url, first, second, third) == []
