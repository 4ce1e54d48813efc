"""A fact outside calls is said once, by its own key, where its topic's readers look for it."""

import pytest

from runtime.emit import MemoryLog, say
from runtime.events import (
    CallEnded,
    ConsentRevoked,
    ContentRead,
    EndReason,
    LeadErased,
    PersonalDataRefused,
    Topic,
    Unreadable,
    decode,
    stream_of,
)

LEAD = "9f86d081884c7d659a2feaa0c55ad015"


def test_a_fact_lies_on_its_topic_under_its_lead() -> None:
    log = MemoryLog()
    stream = say(
        log, "acme", "crm-7", ConsentRevoked, source="crm", at=5, campaign="spring", lead=LEAD, purpose="calls"
    )
    [(key, value)] = log.records(Topic.OUTCOMES)
    event = decode(value)
    assert isinstance(event, ConsentRevoked)
    assert (key, stream) == (LEAD, stream_of("acme", "crm-7"))
    assert (event.stream, event.source, event.seq, event.at) == (stream, "crm", 0, 5)
    assert (event.tenant, event.campaign, event.lead, event.purpose) == ("acme", "spring", LEAD, "calls")


def test_a_fact_without_a_lead_lies_under_its_stream() -> None:
    log = MemoryLog()
    stream = say(log, "acme", "read-1", ContentRead, source="sql", at=5, reader="auditor", statement="ab", rows=3)
    assert [key for key, _ in log.records(Topic.CONTROL)] == [stream]


def test_a_fact_said_again_is_the_same_record_and_another_tenants_is_not() -> None:
    log = MemoryLog()
    for tenant in ("acme", "acme", "other"):
        say(log, tenant, "erase-1", LeadErased, source="erase", at=5, lead=LEAD)
    first, again, other = (decode(value) for _, value in log.records(Topic.CONTROL))
    assert first == again
    assert first.stream != other.stream


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"lead": "06 12 34 56 78", "purpose": "calls"}, PersonalDataRefused),
        ({"purpose": "x" * 500}, Unreadable),
        ({"purpose": "\ud800"}, Unreadable),
        ({"purpos": "calls"}, Unreadable),
        ({}, Unreadable),
    ],
)
def test_a_fact_that_no_reader_would_take_is_its_sayers_to_know(fields, refusal) -> None:
    log = MemoryLog()
    with pytest.raises(refusal) as refused:
        say(log, "acme", "k", ConsentRevoked, source="crm", at=5, **fields)
    assert not log.records(Topic.OUTCOMES)
    assert not [v for v in fields.values() if v in str(refused.value) and v != "calls"]


def test_what_belongs_to_a_call_is_no_fact_outside_calls() -> None:
    with pytest.raises(ValueError, match="CallEnded is said within a call"):
        say(MemoryLog(), "acme", "k", CallEnded, source="crm", at=5, reason=EndReason.FAILED)
