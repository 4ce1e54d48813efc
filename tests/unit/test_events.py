"""The contract, fact by fact: samples, schema, versions, personal data, identities, and who numbers events."""

import datetime
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from runtime.emit import Context, MemoryLog, Recorder
from runtime.events import (
    ALL_TYPES,
    CallEnded,
    CallStarted,
    Detector,
    Direction,
    DispositionSet,
    EndReason,
    Event,
    EventRefused,
    GlitchDetected,
    GlitchKind,
    NodeEntered,
    PersonalDataRefused,
    Reason,
    SourceClosed,
    SpanEnded,
    SpanStatus,
    ToolFired,
    Topic,
    Unreadable,
    WordsHeard,
    WordsSaid,
    day_of_call,
    decode,
    decode_many,
    encode,
    is_call_id,
    lead_id,
    looks_like_phone,
    new_call_id,
)
from runtime.events.schema import contract
from tests.golden.expected import EXPECTED, FULL, LEAST

ROOT = Path(__file__).parents[2]
SAMPLES = (ROOT / "tests/golden/events-v1.jsonl").read_bytes().splitlines()
CALL = "01890f3c-5d2e-7a4b-9c8d-1e2f3a4b5c6d"
NOON = 1_763_812_800_000_000  # 2025-11-22 12:00 UTC, in µs


def unreadable(data: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        decode(data)
    return caught.value


# Samples and schema


def test_every_sample_means_what_it_meant() -> None:
    assert [decode(line) for line in SAMPLES] == list(EXPECTED)
    assert decode_many(SAMPLES) == list(EXPECTED)


@pytest.mark.parametrize("event_type", ALL_TYPES)
def test_every_type_has_a_full_sample_and_a_least_one(event_type: type[Event]) -> None:
    keys = [set(s) - {"type"} for s in map(json.loads, SAMPLES) if s["type"] == event_type.__name__]
    fields = {f.name for f in msgspec.structs.fields(event_type)}
    required = {f.name for f in msgspec.structs.fields(event_type) if f.required}
    assert fields in keys
    assert required in keys


def test_the_checked_in_schema_is_fresh() -> None:
    assert (ROOT / "runtime/events/schema.json").read_text() == contract()


def test_every_sample_fits_the_schema_and_a_broken_one_does_not() -> None:
    schema = json.loads(contract())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for line in SAMPLES:
        validator.validate(json.loads(line))
        assert not validator.is_valid(json.loads(line) | {"v": 2})
        assert not validator.is_valid(json.loads(line) | {"seq": -1})


def test_the_contract_imports_msgspec_and_nothing_of_ours() -> None:
    code = "import sys; before = set(sys.modules); import runtime.events; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    tops = {name.partition(".")[0] for name in done.stdout.split()}
    # msgspec looks for typing_extensions and does without.
    assert tops - set(sys.stdlib_module_names) - {"typing_extensions"} == {"msgspec", "runtime"}
    assert {n for n in done.stdout.split() if n.startswith("runtime.") and not n.startswith("runtime.events")} == set()


# What cannot be read, and why


def test_an_unknown_version_names_the_type_and_both_versions() -> None:
    for line in SAMPLES:
        error = unreadable(json.dumps(json.loads(line) | {"v": 2}).encode())
        assert error.reason is Reason.UNKNOWN_VERSION
        assert f"version 2 of {json.loads(line)['type']}" in str(error)
        assert "knows 1" in str(error)


def test_a_number_in_place_of_the_version_is_not_repeated() -> None:
    error = unreadable(json.dumps(json.loads(SAMPLES[0]) | {"v": 33612345678}).encode())
    assert error.reason is Reason.INVALID
    assert "33612345678" not in str(error)


def test_an_unknown_type_is_not_repeated() -> None:
    error = unreadable(json.dumps(json.loads(SAMPLES[0]) | {"type": "MyNumberIs0612345678"}).encode())
    assert error.reason is Reason.UNKNOWN_TYPE
    assert "0612345678" not in str(error)


def test_unknown_fields_pass() -> None:
    for line, event in zip(SAMPLES, EXPECTED, strict=True):
        assert decode(json.dumps({"later": {"a": [1, None]}} | json.loads(line)).encode()) == event


def test_an_invalid_field_is_named() -> None:
    error = unreadable(json.dumps(json.loads(SAMPLES[0]) | {"seq": -1}).encode())
    assert (error.reason, error.detail) == (Reason.INVALID, "CallStarted: see $.seq")


GOOD = SAMPLES[0]
OPEN = GOOD[:-1]  # without its closing brace


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"\x00",
        b"\xef\xbb\xbf" + GOOD,
        OPEN,
        GOOD + GOOD,
        GOOD + b"\n" + GOOD,
        GOOD + b"\x00",
        OPEN + b',"x":NaN}',
        OPEN + b',"x":Infinity}',
        OPEN + b',"x":' + b"[" * 10_000 + b"}",
        OPEN + b',"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        OPEN.replace(b"acme", b"\xff") + b"}",
        OPEN.replace(b"acme", b"\\ud800") + b"}",
        OPEN.replace(b"acme", b"a\nb") + b"}",
    ],
)
def test_what_is_no_json_is_malformed(data: bytes) -> None:
    assert unreadable(data).reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "data", [b"null", b"1", b'"x"', b"[]", b"{}", b"[" * 10_000, b'{"type":1,"v":1}', b"[" + GOOD + b"]"]
)
def test_json_that_is_no_event_is_invalid(data: bytes) -> None:
    assert unreadable(data).reason is Reason.INVALID


def test_of_duplicate_keys_the_last_counts_and_a_second_type_is_refused() -> None:
    assert decode(OPEN + b',"seq":18}').seq == 18
    assert unreadable(OPEN + b',"type":"CallEnded"}').reason is Reason.INVALID


@pytest.mark.parametrize(
    "records",
    [
        [b"", GOOD + GOOD],
        [GOOD + b" " + GOOD, b"\n"],
        [OPEN + b',"x":[', b"1]}", GOOD + GOOD],
        [GOOD + b"\n" + GOOD],
        [GOOD, GOOD + b"\n", b"", OPEN + b"\n}"],
        [GOOD + b",", GOOD],
    ],
)
def test_a_record_never_shifts_its_neighbours(records: list[bytes]) -> None:
    assert [str(got) for got in decode_many(records)] == [str(decode_many([r])[0]) for r in records]


def test_no_records_are_no_events() -> None:
    assert decode_many([]) == []


# Personal data


@pytest.mark.parametrize(
    "value",
    [
        "0612345",
        "0612345678",
        "+33612345678",
        "0033 6 12 34 56 78",
        "+33 (0)6 12 34 56 78",
        "(212) 555-0142",
        "212.555.0142",
        "030/1234567",
        " 0612345678 ",
        "+49\u00a0151\u00a01234567",
        "0151\u20111234567",
        "0151 \u2013 1234567",
        "\u202a+49 151 1234567\u202c",
        "\uff0b49 151 1234567",
        "٠٦١٢٣٤٥٦٧٨",
        "123456789012345",
        "20261122",
    ],
)
def test_the_shape_of_a_phone_number_is_refused(value: str) -> None:
    assert looks_like_phone(value)
    with pytest.raises(PersonalDataRefused, match="campaign") as caught:
        encode(CallEnded(**LEAST | {"campaign": value}, reason=EndReason.FAILED))
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "123456",  # six digits: an order of magnitude, a short code
        "1234567890123456",  # sixteen
        "2026-11-22",
        "2026-11-22T10:15:00Z",
        "1.2.3",
        "v1.2.3-rc.20261122",
        "small-2024-08-06",
        "campaign 0612345678",  # part of a name is not its whole
        CALL,
        "9f86d081884c7d659a2feaa0c55ad015",
        "-- . --",
    ],
)
def test_dates_versions_ids_and_names_pass(value: str) -> None:
    assert not looks_like_phone(value)
    event = CallEnded(**LEAST | {"campaign": value}, reason=EndReason.FAILED)
    assert decode(encode(event)) == event


def test_a_version_made_of_digits_passes_by_its_type() -> None:
    assert b'"20261122"' in encode(CallEnded(**LEAST, agent_version="20261122", reason=EndReason.FAILED))


def test_a_number_in_place_of_the_leads_pseudonym_is_refused() -> None:
    with pytest.raises(PersonalDataRefused, match=r"CallEnded\.lead"):
        encode(CallEnded(**LEAST, lead="+33612345678", reason=EndReason.FAILED))
    assert not looks_like_phone(lead_id(b"key", "+33612345678"))


@pytest.mark.parametrize("variants", [{"0612345678": "a"}, {"a": "0612345678"}])
def test_variants_are_checked_on_both_sides(variants: dict[str, str]) -> None:
    with pytest.raises(PersonalDataRefused, match=r"CallEnded\.variants"):
        encode(CallEnded(**LEAST, variants=variants, reason=EndReason.FAILED))


def test_words_may_be_a_phone_number() -> None:
    event = WordsHeard(**LEAST, turn=1, text="0612345678")
    assert decode(encode(event)) == event


# Who numbers events


def recorder(log: MemoryLog, **context: Any) -> Recorder:
    return Recorder(
        log, Context(**{"stream": CALL, "tenant": "acme", "campaign": "c", "agent": "a"} | context), "runtime"
    )


def said(log: MemoryLog, topic: Topic) -> list[Event]:
    assert all(key == CALL for key, _ in log.records(topic))
    return [decode(value) for _, value in log.records(topic)]


def test_each_source_counts_its_own_and_content_has_its_own_source_and_topic() -> None:
    log = MemoryLog()
    runtime = recorder(log)
    runtime.record(CallStarted, NOON, direction=Direction.INBOUND)
    runtime.record(WordsHeard, NOON + 1, turn=1, text="hello")
    runtime.record(NodeEntered, NOON + 2, turn=1, node="greeting")
    runtime.record(WordsSaid, NOON + 3, turn=1, text="hi")
    runtime.close(NOON + 4)
    calls, content = said(log, Topic.CALLS), said(log, Topic.CONTENT)
    assert [(type(e), e.source, e.seq) for e in calls] == [
        (CallStarted, "runtime", 0),
        (NodeEntered, "runtime", 1),
        (SourceClosed, "runtime", 2),
    ]
    assert [(type(e), e.source, e.seq) for e in content] == [
        (WordsHeard, "runtime.words", 0),
        (WordsSaid, "runtime.words", 1),
        (SourceClosed, "runtime.words", 2),
    ]
    assert [e.last_seq for e in (calls[-1], content[-1]) if isinstance(e, SourceClosed)] == [2, 2]
    assert runtime.said == {"runtime": 3, "runtime.words": 3}
    assert [e.at for e in calls] == [NOON, NOON + 2, NOON + 4]


def test_a_source_that_said_nothing_closes_nothing() -> None:
    log = MemoryLog()
    recorder(log).close(NOON)
    assert said(log, Topic.CALLS) == said(log, Topic.CONTENT) == []


def test_a_refusal_leaves_its_reason_at_its_seq() -> None:
    log = MemoryLog()
    runtime = recorder(log)
    runtime.record(NodeEntered, NOON, turn=1, node="greeting")
    runtime.record(ToolFired, NOON, turn=1, node="greeting", tool="0612345678", next_node="end")
    runtime.record(DispositionSet, NOON, disposition="done")
    first, refused, last = said(log, Topic.CALLS)
    assert isinstance(refused, EventRefused)
    assert (refused.refused, refused.field, refused.seq) == ("ToolFired", "tool", 1)
    assert (first.seq, last.seq, runtime.refused) == (0, 2, 1)
    assert all(b"0612345678" not in value for _, value in log.records(Topic.CALLS))


@pytest.mark.parametrize(
    ("event_type", "payload", "field"),
    [
        (SpanEnded, {"span": 1, "turn": 1, "component": "tts", "duration_us": -1}, "duration_us"),
        (SpanEnded, {"span": 1, "turn": 1, "component": "t" * 129, "duration_us": 1}, "component"),
        (NodeEntered, {"turn": 65_536, "node": "n"}, "turn"),
        (NodeEntered, {"turn": 1, "node": "\ud83d"}, ""),
        (
            GlitchDetected,
            {"turn": 1, "detector": Detector.AUDIO, "kind": GlitchKind.UNDERRUN, "gap_ms": float("nan")},
            "gap_ms",
        ),
    ],
)
def test_what_no_reader_would_take_is_refused_where_it_is_said(
    event_type: type[Event], payload: dict[str, Any], field: str
) -> None:
    log = MemoryLog()
    recorder(log).record(event_type, NOON, **payload)
    (refused,) = said(log, Topic.CALLS)
    assert isinstance(refused, EventRefused)
    assert (refused.refused, refused.field, refused.seq) == (event_type.__name__, field, 0)


def test_words_beyond_the_limit_or_broken_are_refused_in_the_content_topic() -> None:
    log = MemoryLog()
    runtime = recorder(log)
    runtime.record(WordsSaid, NOON, turn=1, text="x" * 16_384)
    runtime.record(WordsSaid, NOON, turn=1, text="x" * 16_385)
    runtime.record(WordsSaid, NOON, turn=1, text="\ud83d")
    kept, long, broken = said(log, Topic.CONTENT)
    assert isinstance(kept, WordsSaid)
    assert [(type(e), e.source, e.seq) for e in (long, broken)] == [
        (EventRefused, "runtime.words", 1),
        (EventRefused, "runtime.words", 2),
    ]
    assert said(log, Topic.CALLS) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant": "0612345678"},
        {"campaign": "+33 6 12 34 56 78"},
        {"agent": "0612345678"},
        {"env": "0612345678"},
        {"lead": "0612345678"},
        {"variants": {"voice": "0612345678"}},
    ],
)
def test_no_call_starts_with_a_phone_number_in_its_context(wrong: dict[str, Any]) -> None:
    with pytest.raises(PersonalDataRefused, match=f"Context.{next(iter(wrong))}") as caught:
        recorder(MemoryLog(), **wrong)
    assert "12" not in str(caught.value)


def test_no_call_starts_with_a_context_that_no_reader_takes() -> None:
    with pytest.raises(Unreadable, match=r"campaign"):
        recorder(MemoryLog(), campaign="c" * 200)
    with pytest.raises(Unreadable, match="Context"):
        recorder(MemoryLog(), tenant="\ud800")


def test_what_the_context_says_is_on_every_event() -> None:
    log = MemoryLog()
    envelope = {k: v for k, v in FULL.items() if k not in ("source", "seq", "at", "v")}
    runtime = recorder(log, **envelope)
    runtime.record(NodeEntered, NOON, turn=1, node="0612345678")
    runtime.close(NOON)
    for event in said(log, Topic.CALLS):
        assert {name: getattr(event, name) for name in envelope} == envelope


def test_a_full_log_in_memory_drops_and_counts() -> None:
    log = MemoryLog(records_max=1)
    runtime = recorder(log)
    runtime.record(NodeEntered, NOON, turn=1, node="a")
    runtime.record(NodeEntered, NOON, turn=1, node="b")
    assert (len(log.records(Topic.CALLS)), log.dropped, log.close()) == (1, 1, 0)


# Identities


def test_a_call_id_is_a_version_7_uuid_of_its_moment() -> None:
    made = uuid.UUID(new_call_id(NOON))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == NOON // 1000
    assert is_call_id(str(made))


def test_call_ids_sort_by_time_and_differ_within_a_millisecond() -> None:
    ids = [new_call_id(NOON + i * 1000) for i in range(500)]
    assert ids == sorted(ids)
    assert len({new_call_id(NOON) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("at", ["1970-01-01", "2024-02-29", "2025-11-22", "2099-12-31"])
def test_a_calls_day_is_the_utc_day_of_its_id(at: str) -> None:
    midnight = datetime.datetime.fromisoformat(at).replace(tzinfo=datetime.UTC)
    first_us = int(midnight.timestamp()) * 1_000_000
    days = (midnight.date() - datetime.date(1970, 1, 1)).days
    assert day_of_call(new_call_id(first_us)) == day_of_call(new_call_id(first_us + 86_399_999_999)) == days


@pytest.mark.parametrize(
    "spelling",
    [
        CALL.upper(),
        CALL.replace("-", ""),
        "{" + CALL + "}",
        "urn:uuid:" + CALL,
        CALL + "\n",
        " " + CALL[:-1],
        CALL.replace("7a4b", "4a4b"),  # version 4
        CALL.replace("9c8d", "cc8d"),  # another variant
        CALL.replace("01890f3c", "01890f3\uff13"),
        CALL.replace("5d2e-7", "5d2-e7"),
        CALL.replace("01890f3c", "0_890f3c"),
        "",
        "x" * 36,
    ],
)
def test_another_spelling_is_no_call_id(spelling: str) -> None:
    assert is_call_id(CALL)
    assert not is_call_id(spelling)


def test_a_pseudonym_depends_on_tenant_and_person_and_shows_neither() -> None:
    assert lead_id(b"a", "+33612345678") == lead_id(b"a", "+33612345678")
    assert len({lead_id(k, p) for k in (b"a", b"b") for p in ("+33612345678", "+33612345679")}) == 4
    assert len(lead_id(b"a", "x")) == 32


# What a span adds to the caller's wait


@pytest.mark.parametrize(
    ("timing", "latency_us"),
    [
        ({}, 900),
        ({"first_us": 200}, 200),
        ({"first_us": 200, "ready_us": 300}, 300),
        ({"ready_us": 0}, 0),
        ({"first_us": 200, "status": SpanStatus.ERROR}, None),
        ({"status": SpanStatus.CANCELLED}, None),
    ],
)
def test_a_spans_latency_is_ready_else_first_else_the_whole(timing: dict[str, Any], latency_us: int | None) -> None:
    assert SpanEnded(**LEAST, span=1, turn=1, component="tts", duration_us=900, **timing).latency_us == latency_us
