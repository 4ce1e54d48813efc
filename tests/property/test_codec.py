"""What the codec does with any event and with any bytes."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runtime.events import Event, PersonalDataRefused, Unreadable, decode, decode_many, encode
from runtime.events.personal import looks_like_phone
from runtime.events.types import Words
from tests.property.arbitrary import ALL_TYPES, events, events_of, free_fields, hints_of

CANARY = "canary"
EXAMPLES_PER_TYPE = 25  # there are many types, and most of their fields are the same
SEPARATORS = st.text(" \t\u00a0.-/()\u2011\u2013\u200e", max_size=2)


@pytest.mark.parametrize("event_type", ALL_TYPES)
@settings(max_examples=EXAMPLES_PER_TYPE)
@given(data=st.data())
def test_decode_undoes_encode(event_type: type[Event], data: st.DataObject) -> None:
    event = data.draw(events_of(event_type))
    record = encode(event)
    assert decode(record) == event
    assert type(decode(record)) is event_type
    assert b"\n" not in record


@given(
    event=events, later=st.dictionaries(st.text().map(lambda t: "later_" + t), st.none() | st.text() | st.integers())
)
def test_fields_of_a_newer_writer_pass(event: Event, later: dict[str, Any]) -> None:
    assert decode(json.dumps(later | json.loads(encode(event))).encode()) == event


# Bytes that are no event, and worse: that are nearly one, or two, or half


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A record after an accident: cut, doubled, with line breaks, an unknown field left open, garbage inside."""
    record = encode(draw(events))
    at = draw(st.integers(0, len(record)))
    part = draw(
        st.binary(max_size=4) | st.sampled_from([b"\n", b"\r\n", b"\xef\xbb\xbf", b"NaN", b",", b"[", b"}", record])
    )
    return draw(
        st.sampled_from(
            [
                record,
                record[:at],
                record[at:],
                record[:at] + part + record[at:],
                record + part,
                part + record,
                part,
                record[:-1] + b',"later":[',
                b"1]}",
                record[:-1] + b"\n}",
                record + b" " + record,
                b"",
            ]
        )
    )


def outcome(record: bytes) -> object:
    try:
        return decode(record)
    except Unreadable as error:
        return error.reason, error.detail


@given(records=st.lists(broken(), max_size=6))
def test_many_records_give_what_each_gives_alone(records: list[bytes]) -> None:
    together = [(e.reason, e.detail) if isinstance(e, Unreadable) else e for e in decode_many(records)]
    assert together == [outcome(record) for record in records]


@given(
    record=st.binary()
    | broken()
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_bytes_are_an_event_or_unreadable(record: bytes) -> None:
    (got,) = decode_many([record])
    assert isinstance(got, Event | Unreadable)


# Personal data


def planted(value: Any, key: str = "") -> Any:
    """The record with the canary in every string: a reader must not repeat any of them."""
    if isinstance(value, dict):
        return {(CANARY + k if key == "variants" else k): planted(v, k) for k, v in value.items()}
    return CANARY if isinstance(value, str) and key != "type" else value


ACCIDENTS: list[Any] = [
    CANARY,
    [CANARY],
    {CANARY: CANARY},
    {"a": CANARY, CANARY: 1},
    CANARY * 3000,
    -1,
    None,
    2**70,
    1.5,
]


@pytest.mark.parametrize("event_type", ALL_TYPES)
@settings(max_examples=EXAMPLES_PER_TYPE)
@given(data=st.data())
def test_no_message_repeats_a_value_of_the_record(event_type: type[Event], data: st.DataObject) -> None:
    record = planted(json.loads(encode(data.draw(events_of(event_type)))))
    for name in data.draw(
        st.lists(st.sampled_from([*hints_of(event_type), "type", "v", "variants", CANARY]), max_size=3)
    ):
        record[name] = data.draw(st.sampled_from(ACCIDENTS))
    if data.draw(st.booleans()):
        record.pop(data.draw(st.sampled_from(sorted(record))))
    text = json.dumps(record).encode()
    (got,) = decode_many([text[: data.draw(st.integers(0, len(text)))] if data.draw(st.booleans()) else text])
    if isinstance(got, Unreadable):
        assert CANARY not in f"{got} {got!r} {got.detail}"


@st.composite
def phones(draw: st.DrawFn) -> str:
    digits = draw(st.text("0123456789", min_size=7, max_size=15))
    spaced = "".join(digit + draw(SEPARATORS) for digit in digits)
    return draw(st.sampled_from(["", "+", " ", "(", "+ "])) + spaced


@pytest.mark.parametrize("event_type", ALL_TYPES)
@settings(max_examples=EXAMPLES_PER_TYPE)
@given(data=st.data(), phone=phones())
def test_a_phone_number_is_refused_in_every_free_field(
    event_type: type[Event], data: st.DataObject, phone: str
) -> None:
    assume(looks_like_phone(phone))  # an ISO date has the digits of one
    event = data.draw(events_of(event_type))
    for field in free_fields(event_type):
        kept = {name: getattr(event, name) for name in hints_of(event_type)}
        with pytest.raises(PersonalDataRefused) as caught:
            encode(event_type(**kept | {field: phone}))
        assert caught.value.field == field
        assert str(caught.value).startswith(f"{event_type.__name__}.{field} ")
        assert phone not in str(caught.value)


@given(phone=phones())
def test_only_an_iso_date_has_the_digits_of_a_phone_and_passes(phone: str) -> None:
    date = len(phone) == 10 and phone[4] == phone[7] == "-" and phone[:2] in ("19", "20")
    assert looks_like_phone(phone) or date


@pytest.mark.parametrize("event_type", [t for t in ALL_TYPES if t.CONTENT])
@settings(max_examples=EXAMPLES_PER_TYPE)
@given(data=st.data(), phone=phones())
def test_words_are_exempt(event_type: type[Event], data: st.DataObject, phone: str) -> None:
    event = data.draw(events_of(event_type))
    words = next(name for name, hint in hints_of(event_type).items() if hint is Words)
    kept = {name: getattr(event, name) for name in hints_of(event_type)}
    assert getattr(decode(encode(event_type(**kept | {words: phone}))), words) == phone
