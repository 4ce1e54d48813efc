"""All adapters carry the log into the tables with the effect of exactly once, whatever is killed or said twice."""

import time
from collections import Counter
from dataclasses import dataclass

import msgspec
import pytest

from ingest.stream.letters import CONTENT_BYTES_MAX
from runtime import events as ev
from tests.contract.ground import house_at, house_on, until
from tests.contract.grounds import CONNECTED, GROUNDS, LASTING, ground_named
from tests.contract.processes import Store
from tests.contract.said import WORDS, calls, faults, other_faults, others


@pytest.fixture(scope="module", params=GROUNDS)
def ground(request):
    return ground_named(request.param, request)


@pytest.fixture
def house(store_url, tmp_path, ground):
    with house_at(ground, store_url, tmp_path) as house:
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


def poison_of_others(now_us):
    """The same, by topic, for what is said beside calls."""
    call, fact = ev.new_call_id(now_us), ev.stream_of("acme", "poison")
    context = {"source": "desk", "at": now_us, "v": 1, "tenant": "acme", "campaign": "spring"}
    complaint = ev.encode(ev.ComplaintFiled(**context, stream=fact, seq=0, channel="phone"))
    words = ev.encode(ev.WordsHeard(**context, stream=call, seq=0, turn=1, text=WORDS))
    return {
        ev.Topic.OUTCOMES: [
            ("malformed", b"not JSON"),
            ("wrong_topic", ev.encode(ev.NodeEntered(**context, stream=call, seq=8, turn=1, node="hello"))),
            ("wrong_stream", _with(complaint, seq=1)),
            ("clock", _with(complaint, at=0)),
        ],
        ev.Topic.CONTENT: [
            ("wrong_stream", _with(words, stream=fact)),
            ("refused_by_store", words[:-1] + b',"of_a_newer_writer":"\xff"}'),
            ("malformed", WORDS.encode()),
        ],
        ev.Topic.CONTROL: [("wrong_topic", complaint), ("unknown_type", _with(complaint, type="MoonLanded"))],
    }


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
    others: dict
    poison_of_others: dict
    read_again: float
    exits: dict


@pytest.fixture(scope="module")
def mixed(store_url, tmp_path_factory, ground):
    with house_at(ground, store_url, tmp_path_factory.mktemp("mixed")) as house:
        good, more, bad = calls(24), calls(4, seed=1), poison(time.time_ns() // 1000)
        twice = [record for record in good for _ in range(2)]
        key, last = good[-1]
        conflict = _with(last, campaign="other")
        worker = house.worker()
        house.broker.produce(
            [*twice[:200], *(("poison", value) for _, value in bad), *twice[200:], *good[:100], (key, conflict)]
        )
        beside, bad_beside = others(6), poison_of_others(time.time_ns() // 1000)
        for topic, said in beside.items():
            house.broker.produce([*said, *(("poison", v) for _, v in bad_beside[topic]), *said[:5]], topic)
        house.read()
        counted = {name: worker.counted(name) for name in _COUNTED}
        exits = {"flushed": worker.stop()}
        again = house.worker()
        house.broker.produce(more)
        house.read()
        read_again = again.counted(_RECORDS) - len(more)
        poisoned = {r.offset: r.value for r in house.broker.records(ev.Topic.CALLS) if r.key == b"poison"}
        letters = house.letters()
        if hasattr(house.broker, "kill"):
            house.broker.kill()
        exits["without a broker"] = again.stop()
        yield Mixed(
            house.url, good + more, bad, conflict, len(good) + 101 + 3 * 5, counted, poisoned,
            letters, beside, bad_beside, read_again, exits,
        )  # fmt: skip


_RECORDS, _DUPLICATES = "turnlog_ingest_records_total", "turnlog_ingest_duplicates_total"
_CONFLICTS, _DEAD = "turnlog_ingest_conflicts_total", "turnlog_ingest_dead_letters_total"
_RETRIES = "turnlog_ingest_retries_total"
_COUNTED = (_RECORDS, _DUPLICATES, _CONFLICTS, _DEAD)


def test_every_event_is_stored_once_and_every_figure_is_that_of_the_produced_events(mixed):
    assert faults(mixed.url, mixed.good) == []


def test_records_that_were_said_twice_are_counted_as_duplicates_and_not_as_events(mixed):
    assert mixed.counted[_DUPLICATES] == mixed.repeats


def test_poison_is_buried_with_its_reason_and_its_origin_and_its_bytes_apart(mixed):
    letters = [
        (letter, content)
        for letter, content in mixed.letters
        if letter.reason != "conflict" and letter.topic == ev.Topic.CALLS
    ]
    expected = Counter((reason, value[:CONTENT_BYTES_MAX]) for reason, value in mixed.poison)
    assert Counter((letter.reason, content) for letter, content in letters) == expected
    values = mixed.poisoned
    assert {letter.offset: letter.size for letter, _ in letters} == {o: len(v) for o, v in values.items()}
    for letter, content in letters:
        assert content == values[letter.offset][:CONTENT_BYTES_MAX]
        assert not any(word in letter.detail for word in ("my words", "MoonLanded"))


def test_what_is_said_beside_calls_is_stored_once_in_the_table_of_its_topic(mixed):
    assert other_faults(mixed.url, mixed.others) == []


def test_poison_of_every_topic_is_buried_by_its_topic_and_its_bytes_are_among_words_alone(mixed):
    letters = [(letter, content) for letter, content in mixed.letters if letter.topic != ev.Topic.CALLS]
    expected = {(topic, *one) for topic, bad in mixed.poison_of_others.items() for one in bad}
    assert {(letter.topic, letter.reason, content) for letter, content in letters} == expected
    assert len(letters) == len(expected)
    assert not any(WORDS in letter.detail for letter, _ in letters)


def test_another_payload_under_a_known_identity_is_a_conflict_and_the_first_survives(mixed):
    buried = [content for letter, content in mixed.letters if letter.reason == "conflict"]
    assert buried == [mixed.conflict]
    assert mixed.counted[_CONFLICTS] == 1


def test_what_is_asked_to_stop_has_stored_and_committed_what_it_read(mixed):
    assert mixed.exits["flushed"] == 0
    assert mixed.read_again == 0


@pytest.mark.parametrize("ground", CONNECTED, indirect=True)
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
    more = calls(10, seed=-1)
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


@pytest.mark.parametrize("ground", LASTING, indirect=True)
def test_a_broker_that_keeps_its_log_may_die_under_a_worker_which_goes_on(house):
    first, second, third = calls(12), calls(12, seed=1), calls(4, seed=2)
    worker = house.worker(flush=20)
    house.broker.produce(first)
    house.read()
    house.broker.produce(second)
    house.broker.kill()
    house.broker.start()
    assert len(house.broker.records(ev.Topic.CALLS)) == len(first) + len(second)
    house.broker.produce(third)
    house.read()
    assert worker.alive
    assert faults(house.url, first, second, third) == []
    assert worker.stop() == 0


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
