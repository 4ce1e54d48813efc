"""`turnlog call` over a real run, held against the produced events."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from alerts.slos import objectives
from deploy.demo.result import Result
from deploy.demo.run import Order, run_demo
from deploy.embedded import Stack
from deploy.settings import Settings
from grafana.call import CallRecord, Filters, Sort, breaches, call_page, find_call, list_calls, read_calls
from grafana.call.read import CALLS_PER_QUERY_MAX
from grafana.errors import CallNotFound, UnknownObjective
from ingest.query import Client, connect
from runtime.emit import MemoryLog
from runtime.events import (
    CallEnded,
    DispositionSet,
    Event,
    GlitchDetected,
    Outcome,
    SpanEnded,
    ToolFired,
    Topic,
    TurnEnded,
    decode,
)
from tests.system.demo import turnlog

CALLS = 16
SEED = 5
PAGE_BYTES_MAX = 200_000


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, dict[str, list[Event]], Path]:
    """A run with three faults, and the events of each call as the broker got them."""
    state = tmp_path_factory.mktemp("state")
    log = MemoryLog()
    result, _ = run_demo(Settings(state), Order(calls=CALLS, seed=SEED), Console(quiet=True), also=log)
    events: defaultdict[str, list[Event]] = defaultdict(list)
    for key, value in log.records(Topic.CALLS):
        events[key].append(decode(value))
    return result, dict(events), state


@pytest.fixture(scope="module")
def client(ran: tuple[Result, dict[str, list[Event]], Path]) -> Iterator[Client]:
    """Of a stack over the same state folder, without a worker."""
    with Stack(Settings(ran[2]), lambda _: None, worker=False) as stack:
        client = connect(stack.addresses.clickhouse)
        yield client
        client.close()


Ran = tuple[Result, dict[str, list[Event]], Path]


def of(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def of_fault(ran: Ran, objective: str) -> str:
    (call_id,) = [i.call_id for i in ran[0].injected if i.breaches == objective]
    return call_id


# ── records ──


def test_records_hold_what_was_produced(ran: Ran, client: Client) -> None:
    _, events, _ = ran
    records = read_calls(client, list(events))
    assert [r.call_id for r in records] == list(events)
    for record in records:
        its = events[record.call_id]
        assert record.complete
        assert [(e.seq, e.type) for e in sorted(record.events, key=lambda e: e.seq)] == [
            (e.seq, type(e).__name__) for e in its
        ]
        assert record.disposition == of(its, DispositionSet)[-1].disposition
        assert record.end_reason == of(its, CallEnded)[0].reason
        turns = {t.number: t for t in record.turns if t.number}
        assert {n: (t.outcome, t.latency_us) for n, t in turns.items()} == {
            e.turn: (e.outcome, e.latency_us) for e in of(its, TurnEnded)
        }
        spans = {s.span: (s.parent, s.start_us + record.started_us, s.end_us) for t in record.turns for s in t.spans}
        assert spans == {e.span: (e.parent, e.at - e.duration_us, e.at - record.started_us) for e in of(its, SpanEnded)}
        fired = [(u.turn, u.tool, u.next_node) for t in record.turns for u in t.tools]
        assert fired == [(e.turn, e.tool, e.next_node) for e in of(its, ToolFired)]


def test_the_segments_of_each_turn_are_the_useful_times_of_its_spans(ran: Ran, client: Client) -> None:
    _, events, _ = ran
    checked = 0
    for record in read_calls(client, list(events)):
        parts: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for e in of(events[record.call_id], SpanEnded):
            useful = {"end_of_turn": e.duration_us, "tool": e.duration_us, "decision": e.ready_us}
            useful |= {"response": e.ready_us, "tts": e.first_us}
            if useful.get(e.component) is not None:
                parts[e.turn][e.component] = useful[e.component]
        for turn in record.turns:
            if turn.latency_us is None or not turn.number:
                continue
            assert {s.component: s.length_us for s in turn.segments} == parts[turn.number]
            assert sum(s.length_us for s in turn.segments) == turn.latency_us
            checked += 1
    assert checked > CALLS


def test_reading_goes_in_batches_and_leaves_out_what_is_not_there(ran: Ran, client: Client) -> None:
    ids = list(ran[1])
    absent = [f"{ids[0][:-4]}{n:04x}" for n in range(CALLS_PER_QUERY_MAX)]
    assert [r.call_id for r in read_calls(client, [*absent, *ids, ids[0], "no id"])] == ids


# ── the list ──


def badness(events: list[Event]) -> tuple[Any, ...]:
    """What makes a call worse than another, from its events alone; the greater the worse."""
    turns, gaps = of(events, TurnEnded), [e.gap_ms for e in of(events, GlitchDetected)]
    gone = sum(t.outcome is Outcome.DISAPPEARED for t in turns)
    slow = any(s.component == "tts" and s.status == "ok" and (s.first_us or 0) > 2e6 for s in of(events, SpanEnded))
    breached = slow + any(gap >= 40 for gap in gaps) + (gone > 0)
    failed = any(e.reason == "failed" for e in of(events, CallEnded))
    return gone, failed, breached, sum(gaps), max((t.latency_us or 0 for t in turns), default=0), events[0].at


def test_the_worst_come_first(ran: Ran, client: Client) -> None:
    _, events, _ = ran
    lines = list_calls(client, Filters(), objectives(), limit=100)
    expected = sorted(events, key=lambda call_id: badness(events[call_id]), reverse=True)
    assert [line.call_id for line in lines] == expected
    assert {i.call_id for i in ran[0].injected} == {line.call_id for line in lines[:3]}
    assert list_calls(client, Filters(), objectives(), limit=4) == lines[:4]
    for line in lines:
        its = events[line.call_id]
        assert (line.disappeared, line.gap_ms) == pytest.approx((badness(its)[0], badness(its)[3]), abs=0.001)
        assert line.slowest_us == badness(its)[4]
        assert line.length_us == of(its, CallEnded)[0].at - its[0].at
        assert (line.stored, line.said, line.complete) == (len(its), len(its), True)


def test_a_line_names_the_objectives_that_its_record_breaches(ran: Ran, client: Client) -> None:
    records = {r.call_id: r for r in read_calls(client, list(ran[1]))}
    for line in list_calls(client, Filters(), objectives(), limit=100):
        found = breaches(records[line.call_id], objectives())
        assert set(line.breached) == {b.objective for b in found}
    lines = list_calls(client, Filters(), objectives(), limit=100)
    reported = {(b.call_id, b.objective) for b in ran[0].report.breaches}
    assert {(line.call_id, name) for line in lines for name in line.breached} == reported


def test_other_orders(ran: Ran, client: Client) -> None:
    _, events, _ = ran
    keys = {
        Sort.NEWEST: lambda e: e[0].at,
        Sort.LONGEST: lambda e: of(e, CallEnded)[0].at - e[0].at,
        Sort.SLOWEST: lambda e: badness(e)[4],
    }
    for sort, key in keys.items():
        lines = list_calls(client, Filters(), objectives(), sort, 100)
        found = [key(events[line.call_id]) for line in lines]
        assert found == sorted(found, reverse=True), sort


def test_each_filter_keeps_the_calls_that_its_events_say(ran: Ran, client: Client) -> None:
    result, events, _ = ran
    middle_us = sorted(e[0].at for e in events.values())[CALLS // 2]
    slow, gap, gone = (of_fault(ran, o) for o in ("tts_first_byte", "playout_gap", "agent_disappeared"))
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, set(events)),
        ({"campaign": result.report.campaign}, set(events)),
        ({"campaign": "another"}, set()),
        ({"agent": "another"}, set()),
        (
            {"disposition": "booked"},
            {c for c, e in events.items() if of(e, DispositionSet)[-1].disposition == "booked"},
        ),
        ({"outcome": Outcome.DISAPPEARED}, {gone}),
        (
            {"outcome": Outcome.INTERRUPTED},
            {c for c, e in events.items() if "interrupted" in {t.outcome for t in of(e, TurnEnded)}},
        ),
        ({"since_us": middle_us}, {c for c, e in events.items() if e[0].at >= middle_us}),
        ({"breach": "playout_gap"}, {gap}),
        ({"component": "tts"}, {slow}),
        ({"component": "tts", "provider": "simulated", "model": "sim-voice"}, {slow}),
        ({"model": "sim-large"}, set()),
        ({"incomplete": True}, set()),
        ({"latency_us_min": 2_000_000}, {c for c, e in events.items() if badness(e)[4] >= 2_000_000}),
        ({"disposition": "booked", "latency_us_min": 10**9}, set()),
    ]
    for asked, expected in cases:
        found = {line.call_id for line in list_calls(client, Filters(**asked), objectives(), limit=100)}
        assert found == expected, asked


def test_an_objective_that_is_none_is_named_with_those_there_are(client: Client) -> None:
    with pytest.raises(UnknownObjective, match=r"'speed'.*tts_first_byte"):
        list_calls(client, Filters(breach="speed"), objectives())
    with pytest.raises(UnknownObjective, match=r"component 'asr'.*tts"):
        list_calls(client, Filters(component="asr"), objectives())


# ── one call ──


def test_a_call_is_found_by_its_id_either_end_of_it_and_by_name(ran: Ran, client: Client) -> None:
    _, events, _ = ran
    gone = of_fault(ran, "agent_disappeared")
    assert find_call(client, gone, objectives()) == gone
    assert find_call(client, gone.upper(), objectives()) == gone
    assert find_call(client, f"…{gone[-12:]}", objectives()) == gone
    assert find_call(client, gone[:24], objectives()) == gone
    assert find_call(client, "worst", objectives()) == gone
    assert find_call(client, "last", objectives()) == max(events, key=lambda c: (events[c][0].at, c))


def test_what_is_no_call_or_several_is_one_error(ran: Ran, client: Client) -> None:
    some = next(iter(ran[1]))
    with pytest.raises(CallNotFound, match="more than one call") as found:
        find_call(client, some[:8], objectives())
    assert set(found.value.candidates) <= set(ran[1])
    assert len(found.value.candidates) > 1
    for nobody in ("ffffffffffff", "12345", "it's", "x" * 40):
        with pytest.raises(CallNotFound):
            find_call(client, nobody, objectives())
    with pytest.raises(CallNotFound, match="turnlog demo"):
        find_call(client, "worst", objectives(), Filters(campaign="another"))


def records(ran: Ran, client: Client) -> Iterator[CallRecord]:
    yield from read_calls(client, list(ran[1]))


def test_every_page_is_small_and_holds_each_latency_to_the_microsecond(ran: Ran, client: Client) -> None:
    for record in records(ran, client):
        page = call_page(record, objectives(), home="../index.html")
        assert len(page.encode()) < PAGE_BYTES_MAX
        for turn in of(ran[1][record.call_id], TurnEnded):
            if turn.latency_us is not None:
                exact = f"{turn.latency_us / 1000:,.3f}".rstrip("0").rstrip(".")
                assert f"= <b>{exact} ms</b>" in page


# ── the command line ──


def test_the_list_as_json_and_as_text(ran: Ran, client: Client) -> None:
    lines = list_calls(client, Filters(), objectives(), limit=100)
    told = turnlog(ran[2], "call", "list", "--limit", "100", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert [(c["call_id"], c["breached"], c["slowest_us"]) for c in found] == [
        (line.call_id, list(line.breached), line.slowest_us) for line in lines
    ]
    told = turnlog(ran[2], "call", "list", "--limit", "3")
    assert told.returncode == 0, told.stderr
    head, *rows = told.stdout.splitlines()
    assert head.split()[:2] == ["call", "started"]
    assert [row.split()[0] for row in rows] == [line.call_id for line in lines[:3]]
    assert all(objective in told.stdout for line in lines[:3] for objective in line.breached)


def test_a_list_without_calls_says_what_to_do(ran: Ran, client: Client) -> None:
    told = turnlog(ran[2], "call", "list", "--campaign", "another")
    assert (told.returncode, told.stdout) == (0, "")
    assert "turnlog demo" in told.stderr
    told = turnlog(ran[2], "call", "list", "--campaign", "another", "--json")
    assert json.loads(told.stdout) == []


def test_a_call_as_json_as_text_and_as_a_page(ran: Ran, client: Client, tmp_path: Path) -> None:
    slow = of_fault(ran, "tts_first_byte")
    its = ran[1][slow]
    told = turnlog(ran[2], "call", "show", slow[-10:], "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert {t["number"]: t["latency_us"] for t in found["turns"] if t["number"]} == {
        e.turn: e.latency_us for e in of(its, TurnEnded)
    }
    (worst,) = [e for e in of(its, SpanEnded) if e.component == "tts" and (e.first_us or 0) > 2_000_000]
    assert [(b["objective"], b["value_us"], b["span"]) for b in found["breaches"]] == [
        ("tts_first_byte", worst.first_us, worst.span)
    ]
    assert found["complete"] is True

    told = turnlog(ran[2], "call", "show", slow)
    assert told.returncode == 0, told.stderr
    assert f"complete: {len(its)} of {len(its)} events" in told.stdout
    assert "✗ turn 1: the voice took longer than 2.0 s" in told.stdout
    for span in of(its, SpanEnded):
        assert f"{span.duration_us / 1000:,.0f} ms" in told.stdout

    page = tmp_path / "call.html"
    told = turnlog(ran[2], "call", "show", slow, "--html", str(page))
    assert (told.returncode, told.stdout) == (0, ""), told.stderr
    assert page.read_text().startswith("<!doctype html>")
    assert turnlog(ran[2], "call", "show", slow, "--html", "-").stdout == page.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "ffffffffffff"), 1, "turnlog call list"),
        (("show", "worst", "--html", "-", "--json"), 2, "one of them"),
        (("list", "--since", "yesterday"), 2, "2h"),
        (("list", "--breach", "speed"), 2, "tts_first_byte"),
        (("list", "--sort", "nicest"), 2, "worst"),
        (("show", "worst", "--html", "/nowhere/at/all.html"), 2, "/nowhere/at/all.html"),
    ],
)
def test_what_cannot_be_done_is_one_error(
    ran: Ran, client: Client, arguments: tuple[str, ...], code: int, words: str
) -> None:
    told = turnlog(ran[2], "call", *arguments)
    assert told.returncode == code, told.stderr
    assert words in told.stderr
    assert "Traceback" not in told.stderr
    assert told.stdout == ""


def test_a_store_without_tables_and_no_store_at_all_say_what_to_do(tmp_path: Path) -> None:
    told = turnlog(tmp_path, "call", "list")
    assert (told.returncode, told.stdout) == (1, "")
    assert "turnlog demo" in told.stderr
    with Stack(Settings(tmp_path), lambda _: None, worker=False):
        told = turnlog(tmp_path, "call", "show", "worst")
    assert (told.returncode, told.stdout) == (1, "")
    assert "no calls yet" in told.stderr
