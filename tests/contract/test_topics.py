"""Each topic's records lie in a table of their own: what is asked of one topic is never answered from another."""

import time

import pytest

from ingest.effects import FindLast, Lookup, Restore, Write
from ingest.position import first_of, position_of
from ingest.projection import Record, project
from ingest.store.performer import Place, Tables
from ingest.tables import RAW
from runtime import events as ev
from runtime.events import Topic

NOW_US = time.time_ns() // 1000
LOG = "one-id-for-all"  # which no broker gives to two topics: nothing but the table may keep them apart


def said(event_type, stream, seq=0, **fields):
    usual = {"stream": stream, "source": "s", "seq": seq, "at": NOW_US, "v": 1, "tenant": "acme", "campaign": "c"}
    return event_type(**usual, **fields)


def one_of(topic, stream, seq=0):
    match topic:
        case Topic.CALLS:
            return said(ev.CallStarted, stream, seq, direction=ev.Direction.INBOUND)
        case Topic.CONTENT:
            return said(ev.WordsHeard, stream, seq, turn=1, text="my words")
        case Topic.OUTCOMES:
            return said(ev.ComplaintFiled, stream, seq, channel="phone", lead="l-1")
        case _:
            return said(ev.LeadErased, stream, seq, lead="l-1")


def items(topic, *placed):
    records = [Record(offset, NOW_US // 1000, ev.encode(event)) for offset, event in placed]
    return project(records, topic)


def written(its):
    return Write(tuple(its), tuple(first_of(position_of(0, i.offset)) for i in its), frozenset())


@pytest.fixture
def tables(client):
    return Tables(client)


def place_of(tables, topic):
    return Place(topic, LOG, tables.generation(topic, LOG), 0)


@pytest.mark.parametrize("topic", RAW)
def test_what_is_stored_of_a_topic_is_found_by_it_and_by_no_other(tables, client, topic):
    call, offset = ev.new_call_id(NOW_US), 100 * list(RAW).index(topic) + 5
    places = {each: place_of(tables, each) for each in RAW}
    [item] = items(topic, (offset, one_of(topic, call)))
    assert tables.perform(places[topic], written([item])) == {}

    def answers(each):
        lookup = Lookup(frozenset({item.stream_key}), 10**6)
        last = tables.perform(places[each], FindLast(10**6))
        return (
            last and last.position,
            tables.perform(places[each], Restore(0, 10**6)) if each is topic else [],
            tables.perform(places[each], lookup),
            tables.highest_offset(places[each]),
            tables.stored_payloads(places[each], [item]),
        )

    for each in RAW:
        found = (offset, [item], [item.identity], offset, {item.identity: item.row.payload})
        assert answers(each) == (found if each is topic else (None, [], [], -1, {})), each
    assert {each for each in RAW if client.command(f"SELECT count() FROM {RAW[each]}")} == {topic}


def test_a_call_is_derived_from_the_calls_topic_alone(tables, client):
    for topic in RAW:
        tables.perform(place_of(tables, topic), written(items(topic, (0, one_of(topic, ev.new_call_id(NOW_US))))))
    assert client.command("SELECT count() FROM calls") == 1


def test_a_fact_that_is_said_again_is_stored_once_whatever_its_clock_says(tables, client):
    stream = ev.stream_of("acme", "complaint 17")
    first = said(ev.ComplaintFiled, stream, channel="phone", lead="l-1")
    again = ev.ComplaintFiled(
        **{f: getattr(first, f) for f in first.__struct_fields__ if f != "at"}, at=NOW_US - 90 * 86_400 * 1_000_000
    )
    tables.perform(place_of(tables, Topic.OUTCOMES), written(items(Topic.OUTCOMES, (3, again), (0, first))))
    rows = client.query("SELECT offset, toUnixTimestamp(day) FROM outcomes_log FINAL").result_rows
    assert rows == [(0, 0)]


@pytest.mark.parametrize("seen_first", ["beat", "closing"])
def test_the_beats_of_a_producer_are_no_call(tables, client, seen_first):
    beats, call = ev.new_call_id(NOW_US), ev.new_call_id(NOW_US)
    beat = said(ev.ProducerBeat, beats, 0, of="runtime", calls={call: 7})
    closing = said(ev.SourceClosed, beats, 1, last_seq=1)
    order = [beat, closing] if seen_first == "beat" else [closing, beat]
    for offset, event in enumerate(order):
        tables.perform(place_of(tables, Topic.CALLS), written(items(Topic.CALLS, (offset, event))))
    assert client.command("SELECT count() FROM calls") == 0
    assert client.command("SELECT count() FROM events") == 2


def test_a_lost_call_is_a_call(tables, client):
    lost = said(ev.CallLost, ev.new_call_id(NOW_US), producer=ev.new_call_id(NOW_US), last_seq=7)
    tables.perform(place_of(tables, Topic.CALLS), written(items(Topic.CALLS, (0, lost))))
    assert client.command("SELECT count() FROM calls") == 1


def test_words_are_stored_nowhere_but_among_words(tables, client):
    call = ev.new_call_id(NOW_US)
    its = items(Topic.CONTENT, (0, said(ev.WordsHeard, call, turn=1, text="0612345678 is my number")))
    tables.perform(place_of(tables, Topic.CONTENT), written(its))
    with_payload = client.query(
        "SELECT table FROM system.columns"
        " WHERE database = currentDatabase() AND name = 'payload' AND table LIKE '%_log'"
    ).result_rows
    found = {
        table for (table,) in with_payload
        if client.command(f"SELECT count() FROM {table} WHERE position(payload, '0612345678') > 0")
    }  # fmt: skip
    assert found == {"content_log"}
    others = [each for each in RAW.values() if each != "content_log"]
    assert all(client.command(f"SELECT count() FROM {table}") == 0 for table in others)
