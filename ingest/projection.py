"""Turns records into what the core takes in: a readable one into an Item with its measures, another into a Dead.

Pure. It inserts nothing and decides nothing about repeats.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from ingest.effects import Dead, Item, Measure
from ingest.measures import measures_of
from runtime.events import (
    Event,
    EventRefused,
    Reason,
    SourceClosed,
    Topic,
    Unreadable,
    day_of_call,
    decode_many,
    is_call_id,
    is_fact_id,
)

LATE_MAX_US = 30 * 86_400 * 1_000_000
FACT_LATE_MAX_US = 400 * 86_400 * 1_000_000  # as long as it is kept; it opens no partition, however late it is
EARLY_MAX_US = 3_600 * 1_000_000
_DAY_US = 86_400 * 1_000_000
_FACT_DAY = 0
_STREAMS_REMEMBERED = 65_536
# What a source says of its own numbering goes wherever the source speaks.
_OF_ANY_TOPIC = frozenset({SourceClosed, EventRefused})
# Who speaks of a call or its words has a call to speak of; the others may also state a fact outside all calls.
_FACTS_IN = frozenset({Topic.OUTCOMES, Topic.CONTROL})


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it was fetched. `value` is None for a tombstone, which no event is.

    `timestamp` is the broker's time of appending it, in ms, so that every reader judges it alike; a broker that keeps
    the producer's time instead leaves only the reader's own clock. The names are those of the Kafka clients: a record
    of theirs with such a timestamp may stand here, and need not be made into one of ours.
    """

    offset: int
    timestamp: int
    value: bytes | None


class Row(msgspec.Struct, frozen=True, gc=False):
    """What the writer needs of an Item: the event, and the record's exact bytes."""

    event: Event
    payload: bytes


def project(records: Sequence[Record], topic: Topic, judged: bool = True) -> list[Item | Dead]:
    """The records of one batch of `topic`, in order. Rows that were stored before are not `judged` by their clocks
    again.
    """
    events = decode_many([r.value or b"" for r in records])
    counted = measures_of([e for e in events if isinstance(e, Event)])
    projected: list[Item | Dead] = []
    for record, event in zip(records, events, strict=True):
        if isinstance(event, Unreadable):
            projected.append(_dead(record, event.reason, event.detail))
            continue
        measures = next(counted)
        fault = _fault(event, topic, record.timestamp * 1000 if judged else None)
        projected.append(_item(record, event, measures) if fault is None else _dead(record, *fault))
    return projected


def _item(record: Record, event: Event, measures: tuple[Measure, ...]) -> Item:
    payload = record.value or b""
    is_fact, day = _place_of(event.stream) or (False, 0)
    return Item(
        record.offset,
        event.tenant,
        day,
        event.stream,
        event.source,
        event.seq,
        record.timestamp,
        len(payload),
        is_fact or type(event) is SourceClosed,  # a fact is all that its stream ever says
        measures,
        Row(event, payload),
    )


def _dead(record: Record, reason: Reason, detail: str) -> Dead:
    value = record.value or b""
    return Dead(record.offset, len(value), reason, detail, value)


def _fault(event: Event, topic: Topic, arrived_us: int | None) -> tuple[Reason, str] | None:
    """Why a readable event cannot be stored in the table of its topic."""
    name = type(event).__name__
    if event.TOPIC is not topic and type(event) not in _OF_ANY_TOPIC:
        return Reason.WRONG_TOPIC, f"{name} belongs to {event.TOPIC}"
    place = _place_of(event.stream)
    if place is None or (place[0] and topic not in _FACTS_IN):
        fact = ", that of a fact a UUIDv5, both" if topic in _FACTS_IN else ""
        return Reason.WRONG_STREAM, f"{name}: a call's stream is a UUIDv7{fact} in lower case"
    is_fact, day = place
    if is_fact and event.seq != 0:
        return Reason.WRONG_STREAM, f"{name}: a fact is the only event of its stream, at seq 0"
    if arrived_us is None:
        return None
    return _fact_clock_fault(event.at, arrived_us) if is_fact else _call_clock_fault(event.at, day, arrived_us)


def _fact_clock_fault(at: int, arrived_us: int) -> tuple[Reason, str] | None:
    """What became known of a lead may be said weeks after it happened."""
    if arrived_us - FACT_LATE_MAX_US <= at <= arrived_us + EARLY_MAX_US:
        return None
    return Reason.CLOCK, "`at` is more than 400 days behind or an hour ahead of its arrival"


def _call_clock_fault(at: int, day: int, arrived_us: int) -> tuple[Reason, str] | None:
    """A clock gone wrong would open a partition of its own for each day."""
    if not arrived_us - LATE_MAX_US <= at <= arrived_us + EARLY_MAX_US:
        return Reason.CLOCK, "`at` is more than 30 days behind or an hour ahead of its arrival"
    if not (arrived_us - LATE_MAX_US) // _DAY_US <= day <= (arrived_us + EARLY_MAX_US) // _DAY_US:
        return Reason.CLOCK, "the call id's own time is more than 30 days behind or an hour ahead of its arrival"
    return None


@lru_cache(_STREAMS_REMEMBERED)
def _place_of(stream: str) -> tuple[bool, int] | None:
    """Whether it is a fact, and the day that its rows lie under; None for what is no stream of ours. A call of 1970
    lies under the day of facts and is none.
    """
    if is_call_id(stream):
        return False, day_of_call(stream)
    return (True, _FACT_DAY) if is_fact_id(stream) else None
