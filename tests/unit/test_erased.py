"""What an erasure leaves of an event, without a store."""

import re

import pytest

from ingest.effects import Item, Skipped
from ingest.erased import Erasures, blanked, is_pseudonym, pattern_of
from ingest.projection import Record, project
from runtime import events as ev
from runtime.events import Topic

LEAD, NOW_US = "0123456789abcdef0123456789abcdef", 1_790_000_000_000_000


def said(event_type, stream, lead=LEAD, at=NOW_US, **fields):
    usual = {"source": "s", "seq": 0, "v": 1, "tenant": "acme", "campaign": "c"}
    return event_type(**usual, stream=stream, lead=lead, at=at, **fields)


def applied(erasures, topic, *events):
    records = [Record(n, NOW_US // 1000, ev.encode(e)) for n, e in enumerate(events)]
    return erasures.applied(topic, project(records, topic))


def after(until_us):
    erasures = Erasures()
    erasures.learn([said(ev.LeadErased, ev.stream_of("acme", "e"), at=until_us)])
    return erasures


def test_words_go_and_what_is_counted_stays_without_the_lead():
    call = ev.new_call_id(NOW_US)
    erasures = after(NOW_US)
    [words] = applied(erasures, Topic.CONTENT, said(ev.WordsHeard, call, turn=1, text="x"))
    assert isinstance(words, Skipped)
    [turn] = applied(erasures, Topic.CALLS, said(ev.TurnEnded, call, turn=1, outcome=ev.Outcome.ANSWERED))
    assert isinstance(turn, Item)
    assert turn.row.event.lead == ""
    assert LEAD.encode() not in turn.row.payload
    assert ev.decode(turn.row.payload) == turn.row.event
    assert turn.measures


def test_a_lead_of_another_tenant_or_a_later_call_is_kept():
    erasures = after(NOW_US)
    later = said(ev.CallStarted, ev.new_call_id(NOW_US + 1_000), direction=ev.Direction.INBOUND)
    assert not erasures.covers(later)
    early = said(ev.CallStarted, ev.new_call_id(NOW_US), direction=ev.Direction.INBOUND)
    assert erasures.covers(early)
    other = Erasures()
    other.leads = {("globex", LEAD): NOW_US}
    assert not other.covers(early)


def test_a_call_is_erased_whole_though_its_last_event_is_said_after():
    call = ev.new_call_id(NOW_US)
    assert after(NOW_US).covers(said(ev.CallEnded, call, at=NOW_US + 60_000_000, reason=ev.EndReason.AGENT_ENDED))


def test_an_erasure_is_known_from_its_own_batch_on_and_names_its_lead_still():
    erasures = Erasures()
    [item] = applied(erasures, Topic.CONTROL, said(ev.LeadErased, ev.stream_of("acme", "e")))
    assert item.row.event.lead == LEAD
    assert erasures.leads == {("acme", LEAD): NOW_US}


def test_words_that_do_not_say_whose_they_are_go_by_their_call():
    call, erasures = ev.new_call_id(NOW_US), Erasures()
    erasures.calls.add(("acme", call))
    [words] = applied(erasures, Topic.CONTENT, said(ev.WordsHeard, call, lead="", turn=1, text="x"))
    assert isinstance(words, Skipped)


@pytest.mark.parametrize("space", ["", " ", "\n\t "])
def test_the_field_is_blanked_as_any_encoder_writes_it_and_nothing_else(space):
    payload = f'{{"lead"{space}:{space}"{LEAD}","text":"\\"lead\\":\\"{LEAD}\\"","campaign":"{LEAD}"}}'.encode()
    assert blanked(payload, LEAD) == payload.replace(f'"lead"{space}:{space}"{LEAD}"'.encode(), b'"lead":""')


def test_a_pseudonym_is_matched_as_it_stands():
    assert re.fullmatch(pattern_of("a.b+c"), '"lead":"a.b+c"')
    assert not re.fullmatch(pattern_of("a.b+c"), '"lead":"aXbbc"')
    assert not is_pseudonym('a"b')
    assert not is_pseudonym("")
