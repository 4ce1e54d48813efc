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
    Reason,
    SourceClosed,
    Topic,
    Unreadable,
    day_of_call,
    decode_many,
    is_call_id,
)

LATE_MAX_US = 30 * 86_400 * 1_000_000
EARLY_MAX_US = 3_600 * 1_000_000
_DAY_US = 86_400 * 1_000_000
_STREAMS_REMEMBERED = 65_536


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it was fetched. `value` is None for a tombstone, which no event is.

    `arrived_ms` is the broker's time of appending it, so that every reader judges it alike; a broker that keeps the
    producer's time instead leaves only the reader's own clock.
    """

    offset: int
    arrived_ms: int
    value: bytes | None


class Row(msgspec.Struct, frozen=True, gc=False):
    """What the writer needs of an Item: the event, and the record's exact bytes."""

    event: Event
    payload: bytes


def project(records: Sequence[Record], judged: bool = True) -> list[Item | Dead]:
    """The records of one batch, in order. Rows that were stored before are not `judged` by their clocks again."""
    events = decode_many([r.value or b"" for r in records])
    counted = measures_of([e for e in events if isinstance(e, Event)])
    projected: list[Item | Dead] = []
    for record, event in zip(records, events, strict=True):
        if isinstance(event, Unreadable):
            projected.append(_dead(record, event.reason, event.detail))
            continue
        measures = next(counted)
        fault = _fault(event, record.arrived_ms * 1000 if judged else None)
        projected.append(_item(record, event, measures) if fault is None else _dead(record, *fault))
    return projected


def _item(record: Record, event: Event, measures: tuple[Measure, ...]) -> Item:
    payload = record.value or b""
    return Item(
        record.offset,
        event.tenant,
        _day(event.stream),
        event.stream,
        event.source,
        event.seq,
        record.arrived_ms,
        len(payload),
        type(event) is SourceClosed,
        measures,
        Row(event, payload),
    )


def _dead(record: Record, reason: Reason, detail: str) -> Dead:
    value = record.value or b""
    return Dead(record.offset, len(value), reason, detail, value)


def _fault(event: Event, arrived_us: int | None) -> tuple[Reason, str] | None:
    """Why a readable event cannot be stored. A clock gone wrong would open a partition of its own for each day."""
    if event.TOPIC is not Topic.CALLS:
        return Reason.WRONG_TOPIC, f"{type(event).__name__} belongs to {event.TOPIC}"
    day = _day(event.stream)
    if day < 0:
        return Reason.WRONG_STREAM, f"{type(event).__name__}: a call's stream is a UUIDv7 in lower case"
    if arrived_us is None:
        return None
    if not arrived_us - LATE_MAX_US <= event.at <= arrived_us + EARLY_MAX_US:
        return Reason.CLOCK, "`at` is more than 30 days behind or an hour ahead of its arrival"
    if not (arrived_us - LATE_MAX_US) // _DAY_US <= day <= (arrived_us + EARLY_MAX_US) // _DAY_US:
        return Reason.CLOCK, "the call id's own time is more than 30 days behind or an hour ahead of its arrival"
    return None


@lru_cache(_STREAMS_REMEMBERED)
def _day(stream: str) -> int:
    return day_of_call(stream) if is_call_id(stream) else -1
