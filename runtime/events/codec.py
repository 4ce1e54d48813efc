"""Events to bytes and back. Refuses phone numbers on the way out, says why a record cannot be read on the way in.

A reader accepts fields that it does not know: a newer writer may add them. It does not accept a type or a
version that it does not know, because it cannot say what that would mean.
"""

import re
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from runtime.events.names import Reason
from runtime.events.personal import PersonalDataRefused, looks_like_phone
from runtime.events.types import ALL_TYPES, Event

VERSION_MAX = 9_999  # a version is repeated in a message; a number as long as a phone's must not be
_BY_NAME = {t.__name__: t for t in ALL_TYPES}


class Unreadable(ValueError):
    """A record that is no event we know. `detail` names places and types, never values: values may be words."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class _Head(msgspec.Struct):
    type: str
    v: Annotated[int, msgspec.Meta(ge=0, le=VERSION_MAX)]


def _is_free(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(
        isinstance(m, msgspec.Meta) and (m.extra or {}).get("free") for m in get_args(hint)[1:]
    )


def _free_fields(event_type: type[Event]) -> tuple[str, ...]:
    hints = get_type_hints(event_type, include_extras=True)
    return tuple(f for f in event_type.__struct_fields__ if _is_free(hints[f]))


_FREE = {t: _free_fields(t) for t in ALL_TYPES}
_FREE_PAYLOAD = {t: tuple(f for f in free if f not in Event.__struct_fields__) for t, free in _FREE.items()}
_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(reduce(or_, ALL_TYPES))
_HEAD = msgspec.json.Decoder(_Head)
_PATH = re.compile(r"at `(\$[^`]*)`")


def encode(event: Event, *, envelope_tried: bool = False) -> bytes:
    """The event as one JSON object. Raises PersonalDataRefused, which names the field and not the value.

    `envelope_tried`: another event with this envelope was encoded before, so only the payload is looked at.
    """
    for field in (_FREE_PAYLOAD if envelope_tried else _FREE)[type(event)]:
        if looks_like_phone(getattr(event, field)):
            raise PersonalDataRefused(type(event).__name__, field)
    if not envelope_tried:
        for name, value in event.variants.items():
            if looks_like_phone(name) or looks_like_phone(value):
                raise PersonalDataRefused(type(event).__name__, "variants")
    return _ENCODER.encode(event)


def decode(data: bytes) -> Event:
    """The event in `data`. Raises Unreadable with a reason fit for a dead letter."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _why(data, error) from None


def decode_many(values: Sequence[bytes]) -> list[Event | Unreadable]:
    """Each record's event, or why it cannot be read; one bad record costs only itself."""
    # One by one: `decode_lines` is no faster, and takes two documents on one line for two records. Nor joined into one
    # list: halves of a document in two records and two documents in a third are as many as the records are.
    try:
        return list(map(_DECODER.decode, values))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [_try(value) for value in values]


def _try(value: bytes) -> Event | Unreadable:
    try:
        return decode(value)
    except Unreadable as error:
        return error


def _why(data: bytes, error: Exception) -> Unreadable:
    """The reason, from the head when it can be read. msgspec quotes values in some messages; the path is safe."""
    if isinstance(error, UnicodeDecodeError):
        return Unreadable(Reason.MALFORMED, "not UTF-8")
    try:
        head = _HEAD.decode(data)
    except msgspec.ValidationError as problem:
        return Unreadable(Reason.INVALID, f"not an event: see {_place(problem)}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Unreadable(Reason.MALFORMED, "not JSON")
    known = _BY_NAME.get(head.type)
    if known is None:
        return Unreadable(Reason.UNKNOWN_TYPE, "a type that this reader does not know")
    if head.v != known.VERSION:
        return Unreadable(
            Reason.UNKNOWN_VERSION,
            f"version {head.v} of {known.__name__}; this reader knows {known.VERSION}: upgrade the ingest worker",
        )
    return Unreadable(Reason.INVALID, f"{known.__name__}: see {_place(error)}")


def _place(error: Exception) -> str:
    found = _PATH.search(str(error))
    if found is None:
        return "$"
    # A path may hold an unknown key of the sender's; only the names of our own fields are ours to repeat.
    return found[1] if re.fullmatch(r"\$(\.[a-z_]{1,32})?(\[\.\.\.\])?", found[1]) else "$"
