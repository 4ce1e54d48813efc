"""A readable record becomes an Item with its measures, any other a Dead with its reason; order and offsets stay."""

import msgspec
import pytest

from ingest.effects import Dead, Item
from ingest.projection import EARLY_MAX_US, FACT_LATE_MAX_US, LATE_MAX_US, Record, project
from ingest.sketch import bucket_of
from ingest.tables import Log
from runtime import events as ev
from runtime.events import Reason, Topic

DAY_US = 86_400 * 1_000_000
NOW_US = 20_000 * DAY_US + 12 * 3_600 * 1_000_000
CALL = ev.new_call_id(NOW_US)


def said(event_type=ev.NodeEntered, **fields):
    usual = {"stream": CALL, "source": "runtime", "seq": 0, "at": NOW_US, "v": 1, "tenant": "acme", "campaign": "c"}
    if event_type is ev.NodeEntered:
        usual |= {"turn": 1, "node": "hello"}
    return event_type(**{**usual, **fields})


def span(**fields):
    return said(ev.SpanEnded, **{"span": 1, "turn": 1, "component": "tts", "duration_us": 1_000, **fields})


def one(value, arrived_us=NOW_US, judged=True, topic=Topic.CALLS):
    value = value if isinstance(value, bytes | None) else ev.encode(value)
    return project([Record(40, arrived_us // 1000, value)], topic, judged)[0]


def changed(event, **fields):
    return msgspec.json.encode({**msgspec.json.decode(ev.encode(event)), **fields})


def test_an_item_says_who_when_and_how_large():
    event = said(seq=3)
    item = one(event)
    assert isinstance(item, Item)
    assert item.identity == ("acme", 20_000, CALL, "runtime", 3)
    assert (item.offset, item.arrived_ms, item.closes, item.measures) == (40, NOW_US // 1000, False, ())
    assert item.row.event == event
    assert item.row.payload == ev.encode(event)
    assert item.size == len(item.row.payload)


def test_the_day_is_that_of_the_call_and_not_of_the_event():
    item = one(said(at=NOW_US + DAY_US, stream=ev.new_call_id(NOW_US)), arrived_us=NOW_US + DAY_US)
    assert item.day == 20_000


def test_only_the_last_event_of_a_source_closes_it():
    assert one(said(ev.SourceClosed, last_seq=0)).closes
    assert not one(said(ev.CallEnded, reason=ev.EndReason.FAILED)).closes


def test_a_span_counts_once_in_its_minute_and_bucket():
    item = one(span(at=NOW_US + 61 * 1_000_000, provider="p", model="m", ready_us=300, first_us=200))
    minute_s = NOW_US // 1_000_000 + 60
    key = (Log.LATENCY_1M, minute_s, "acme", "c", "tts", "p", "m")
    assert item.measures == ((key, int(bucket_of([300])[0])),)


@pytest.mark.parametrize("status", [ev.SpanStatus.ERROR, ev.SpanStatus.CANCELLED])
def test_a_span_that_failed_measures_nothing(status):
    assert one(span(status=status)).measures == ()


POISON = {
    Reason.MALFORMED: b"not JSON",
    Reason.UNKNOWN_TYPE: changed(said(), type="MoonLanded"),
    Reason.UNKNOWN_VERSION: changed(said(), v=2),
    Reason.INVALID: changed(said(), turn="one"),
    Reason.WRONG_TOPIC: ev.encode(said(ev.WordsHeard, turn=1, text="my secret words")),
    Reason.WRONG_STREAM: ev.encode(said(stream="secret-call")),
    Reason.CLOCK: ev.encode(said(at=0)),
}
LATER = {Reason.CONFLICT: "the intake finds it", Reason.REFUSED_BY_STORE: "the performer finds it"}


def test_every_reason_is_found_here_or_named_as_found_later():
    assert POISON.keys() | LATER.keys() == set(Reason)


@pytest.mark.parametrize("reason", POISON)
def test_poison_is_dead_with_its_reason_and_its_bytes_and_none_of_its_words(reason):
    dead = one(POISON[reason])
    assert isinstance(dead, Dead)
    assert (dead.offset, dead.reason, dead.value, dead.size) == (40, reason, POISON[reason], len(POISON[reason]))
    assert "secret" not in dead.detail


def test_a_tombstone_is_no_event():
    dead = one(None)
    assert (dead.reason, dead.value, dead.size) == (Reason.MALFORMED, b"", 0)


@pytest.mark.parametrize(
    "stream",
    [CALL.upper(), "{" + CALL + "}", CALL.replace("-7", "-4", 1), "9" * 36],
    ids=["upper case", "braces", "version 4", "digits"],
)
def test_another_spelling_of_a_call_id_is_no_call(stream):
    assert one(changed(said(), stream=stream)).reason is Reason.WRONG_STREAM


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        (NOW_US - LATE_MAX_US, True),
        (NOW_US - LATE_MAX_US - 1, False),
        (NOW_US + EARLY_MAX_US, True),
        (NOW_US + EARLY_MAX_US + 1, False),
    ],
    ids=["as late as may be", "later", "as early as may be", "earlier"],
)
def test_a_clock_is_believed_to_the_microsecond_of_its_bounds(at, kept):
    assert isinstance(one(said(at=at)), Item) is kept


@pytest.mark.parametrize(
    ("begun_us", "kept"),
    [
        (NOW_US // DAY_US * DAY_US - 30 * DAY_US, True),  # the first day that a late event may open
        (NOW_US // DAY_US * DAY_US - 30 * DAY_US - 1_000, False),
        (NOW_US // DAY_US * DAY_US + DAY_US - 1_000, True),  # today's last millisecond
        (NOW_US // DAY_US * DAY_US + DAY_US, False),
    ],
    ids=["first day", "day before", "end of today", "tomorrow"],
)
def test_a_call_id_of_another_time_opens_no_partition_of_its_own(begun_us, kept):
    assert isinstance(one(said(stream=ev.new_call_id(begun_us))), Item) is kept


def test_shortly_before_midnight_tomorrow_is_not_yet_too_early():
    late = NOW_US // DAY_US * DAY_US + DAY_US - EARLY_MAX_US // 2
    assert isinstance(one(said(at=late, stream=ev.new_call_id(late + EARLY_MAX_US)), arrived_us=late), Item)


def test_what_was_stored_before_is_trusted():
    assert isinstance(one(said(at=0, stream=ev.new_call_id(0)), judged=False), Item)


def test_a_mixed_batch_keeps_its_order_and_gives_every_span_its_own_bucket():
    values = []
    for n, poison in enumerate(POISON.values()):
        # A content event and a clock of 1970 are readable, so a bucket must not slip behind them either.
        values += [poison, ev.encode(span(seq=n, duration_us=10 ** (n + 1))), changed(span(duration_us=77), at=0)]
    projected = project([Record(100 + n, NOW_US // 1000, value) for n, value in enumerate(values)], Topic.CALLS)
    assert [p.offset for p in projected] == list(range(100, 100 + len(values)))
    assert [type(p) for p in projected] == [Dead, Item, Dead] * len(POISON)
    assert [p.reason for p in projected[::3]] == list(POISON)
    buckets = [item.measures[0][1] for item in projected[1::3]]
    assert buckets == bucket_of([10 ** (n + 1) for n in range(len(POISON))]).tolist()


def test_nothing_projects_to_nothing():
    assert project([], Topic.CALLS) == []


# ── one event, four topics ──

FACT = ev.stream_of("acme", "complaint 17")


def complaint(**fields):
    return said(ev.ComplaintFiled, **{"stream": FACT, "lead": "l-1", "channel": "phone", **fields})


OF_TOPIC = {
    Topic.CALLS: said(),
    Topic.CONTENT: said(ev.WordsHeard, turn=1, text="my words", source="runtime.words"),
    Topic.OUTCOMES: complaint(),
    Topic.CONTROL: said(ev.LeadErased, stream=FACT, lead="l-1"),
}


@pytest.mark.parametrize("topic", OF_TOPIC)
@pytest.mark.parametrize("home", OF_TOPIC)
def test_an_event_is_an_item_on_its_own_topic_and_dead_on_every_other(home, topic):
    found = one(OF_TOPIC[home], topic=topic)
    assert isinstance(found, Item) if home is topic else found.reason is Reason.WRONG_TOPIC


@pytest.mark.parametrize("topic", OF_TOPIC)
def test_what_a_source_says_of_its_own_numbering_goes_wherever_it_speaks(topic):
    for event in (said(ev.SourceClosed, last_seq=0), said(ev.EventRefused, refused="WordsHeard", field="")):
        assert isinstance(one(event, topic=topic), Item)


@pytest.mark.parametrize("topic", OF_TOPIC)
def test_a_fact_outside_calls_is_taken_where_facts_are_said_and_nowhere_else(topic):
    found = one(changed(OF_TOPIC[topic], stream=FACT), topic=topic)
    if topic in (Topic.OUTCOMES, Topic.CONTROL):
        assert isinstance(found, Item)
    else:
        assert found.reason is Reason.WRONG_STREAM


def test_what_is_known_of_a_lead_may_also_be_said_within_a_call():
    item = one(complaint(stream=CALL, source="runtime", seq=3), topic=Topic.OUTCOMES)
    assert (item.day, item.closes) == (20_000, False)


def test_a_fact_lies_under_no_day_and_is_all_that_its_stream_says():
    item = one(complaint(), topic=Topic.OUTCOMES)
    assert item.identity == ("acme", 0, FACT, "runtime", 0)
    assert item.closes
    assert one(complaint(seq=1), topic=Topic.OUTCOMES).reason is Reason.WRONG_STREAM


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        (NOW_US - FACT_LATE_MAX_US, True),
        (NOW_US - FACT_LATE_MAX_US - 1, False),
        (NOW_US + EARLY_MAX_US, True),
        (NOW_US + EARLY_MAX_US + 1, False),
    ],
)
def test_a_fact_may_be_said_as_late_as_it_is_kept(at, kept):
    assert isinstance(one(complaint(at=at), topic=Topic.OUTCOMES), Item) is kept


def test_a_call_of_1970_lies_under_the_day_of_facts_and_is_no_fact():
    call = ev.new_call_id(0)
    assert one(said(stream=call)).reason is Reason.CLOCK
    assert one(complaint(stream=call), topic=Topic.OUTCOMES).reason is Reason.CLOCK
    assert not one(complaint(stream=call, at=0), judged=False, topic=Topic.OUTCOMES).closes
