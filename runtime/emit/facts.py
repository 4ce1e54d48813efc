"""Says a fact outside calls: what became known of a lead, and what every process must know. Nobody numbers these."""

from typing import Any

from runtime.emit.port import Log
from runtime.events import Event, PersonalDataRefused, Reason, Topic, Unreadable, decode, encode, stream_of

_OUTSIDE = frozenset({Topic.OUTCOMES, Topic.CONTROL})


def say(
    log: Log, tenant: str, key: str, event_type: type[Event], *, source: str, at: int, campaign: str = "", **fields: Any
) -> str:
    """Hand one fact over, and return its stream. `key` is the caller's own idempotency key: the same fact said again
    under the same key is one fact. `source` names who writes, `at` is µs since 1970; `fields` are the payload and
    the rest of the envelope (`lead`, `env`, …). Records of one lead keep their order.

    Raises PersonalDataRefused, or Unreadable for what no reader would take: a fact that was not said is its sayer's
    to know. Neither names a value. Delivery is the log's: `flush` tells.
    """
    if event_type.TOPIC not in _OUTSIDE:
        raise ValueError(f"{event_type.__name__} is said within a call: use a Recorder")
    stream = stream_of(tenant, key)
    try:
        event = event_type(stream=stream, source=source, seq=0, at=at, v=1, tenant=tenant, campaign=campaign, **fields)
        value = encode(event)
        decode(value)
    except PersonalDataRefused:
        raise
    except (UnicodeEncodeError, TypeError, OverflowError):
        raise Unreadable(Reason.INVALID, f"{event_type.__name__}: a field is unknown or no value of its kind") from None
    log.append(event_type.TOPIC, event.lead or stream, value)
    return stream
