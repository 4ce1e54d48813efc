"""Calls that no run of ours makes, read from a real store: incomplete ones, other tenants', newer types, very many."""

import datetime as dt
import time
from collections.abc import Sequence
from typing import Any

from alerts.slos import objectives
from deploy.doctor.store import INCOMPLETE_READ_MAX, ask_store
from grafana.call import Filters, list_calls, read_calls
from grafana.call.lines import KEYS_PER_QUERY_MAX, LINES_MAX
from ingest import query
from ingest.columns import raw_tables
from ingest.effects import Item
from ingest.projection import Record, project
from ingest.store.calls import derive_calls
from ingest.store.writer import Writer
from ingest.tables import Log
from runtime.events import (
    CallEnded,
    CallStarted,
    Detector,
    Direction,
    EndReason,
    Event,
    GlitchDetected,
    GlitchKind,
    Outcome,
    SourceClosed,
    SpanEnded,
    Topic,
    TurnEnded,
    encode,
    new_call_id,
)

NOW_US = time.time_ns() // 1000
MS = 1_000


def said(call_id: str, *payloads: tuple[type[Event], dict[str, Any]], tenant: str = "acme") -> list[Event]:
    """Events of one source of the call, numbered, a millisecond apart."""
    envelope = {"stream": call_id, "source": "runtime", "v": 1, "tenant": tenant, "campaign": "spring", "agent": "a"}
    return [kind(**envelope, seq=n, at=NOW_US + n * MS, **more) for n, (kind, more) in enumerate(payloads)]


def whole(call_id: str, *middle: tuple[type[Event], dict[str, Any]], failed: bool = False, **more: Any) -> list[Event]:
    reason = EndReason.FAILED if failed else EndReason.AGENT_ENDED
    ends = ((CallEnded, {"reason": reason}), (SourceClosed, {"last_seq": len(middle) + 2}))
    return said(call_id, (CallStarted, {"direction": Direction.INBOUND}), *middle, *ends, **more)


def store(client: query.Client, events: Sequence[Event]) -> None:
    """As the worker does it."""
    records = [Record(n, NOW_US // 1000, encode(event)) for n, event in enumerate(events)]
    items = [item for item in project(records, Topic.CALLS, judged=False) if isinstance(item, Item)]
    assert len(items) == len(events)
    writer = Writer(client)
    firsts, place = [2**64 - 1 - i.offset for i in items], {"log": "topic-a", "partition": 0}
    for log, rows in raw_tables(items, firsts, (), Log.EVENTS, place):
        writer.insert(log, rows)
    derive_calls(
        client, list({(i.tenant, i.day, i.stream): (i.tenant, _date(i.day), i.stream) for i in items}.values())
    )


def _date(day: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=day)


def turn(
    latency_ms: int | None, outcome: Outcome = Outcome.ANSWERED, number: int = 1
) -> tuple[type[Event], dict[str, Any]]:
    latency_us = None if latency_ms is None else latency_ms * MS
    return TurnEnded, {"turn": number, "outcome": outcome, "latency_us": latency_us}


def gap(gap_ms: float) -> tuple[type[Event], dict[str, Any]]:
    return GlitchDetected, {"turn": 1, "detector": Detector.PLAYOUT, "kind": GlitchKind.UNDERRUN, "gap_ms": gap_ms}


def slow_voice() -> tuple[type[Event], dict[str, Any]]:
    figures = {"span": 1, "turn": 1, "first_us": 2_000_001, "duration_us": 3_000_000}
    return SpanEnded, {**figures, "component": "tts", "provider": "p", "model": "m"}


def test_each_reason_outweighs_all_that_come_after_it(client: query.Client) -> None:
    """From the worst to the best; every call is worse than the one above it by all that counts less."""
    wanted = [
        whole(new_call_id(NOW_US), turn(None, Outcome.DISAPPEARED), turn(None, Outcome.DISAPPEARED, 2)),
        whole(
            new_call_id(NOW_US), turn(9_000), turn(None, Outcome.DISAPPEARED, 2), slow_voice(), gap(500), failed=True
        ),
        whole(new_call_id(NOW_US), turn(100), failed=True),
        whole(new_call_id(NOW_US), turn(100), slow_voice(), gap(40)),
        whole(new_call_id(NOW_US), turn(100), gap(60)),
        whole(new_call_id(NOW_US), turn(9_000), gap(50)),
        whole(new_call_id(NOW_US), turn(100), gap(39), gap(39)),
        whole(new_call_id(NOW_US), turn(9_000), gap(39)),
        whole(new_call_id(NOW_US), turn(2_000)),
        whole(new_call_id(NOW_US), turn(1_000), turn(1_999, number=2)),
        whole(new_call_id(NOW_US)),
    ]
    store(client, [event for call in wanted[::-1] for event in call])
    lines = list_calls(client, Filters(), objectives())
    assert [line.call_id for line in lines] == [call[0].stream for call in wanted]
    assert [line.breached for line in lines[:4]] == [
        ("agent_disappeared",),
        ("tts_first_byte", "playout_gap", "agent_disappeared"),
        (),
        ("tts_first_byte", "playout_gap"),
    ]
    assert lines[6].gap_ms == 78
    assert lines[-1].slowest_us is None


def test_calls_that_are_open_or_lack_events_are_incomplete(client: query.Client) -> None:
    done, open_, lacking, headless = (whole(new_call_id(NOW_US), turn(100)) for _ in range(4))
    del open_[-1], lacking[1], headless[0]
    store(client, [*done, *open_, *lacking, *headless])
    lines = {line.call_id: line for line in list_calls(client, Filters(incomplete=True), objectives())}
    assert {i: (line.stored, line.said) for i, line in lines.items()} == {
        open_[0].stream: (3, None),
        lacking[0].stream: (3, 4),
        headless[0].stream: (3, 4),
    }
    found = lines[headless[0].stream]
    assert found.length_us is None
    assert found.started.timestamp() * 1000 == NOW_US // 1000  # what its id tells
    records = {r.call_id: r for r in read_calls(client, list(lines))}
    assert records[lacking[0].stream].sources[0].missing == ((1, 1),)
    assert not records[headless[0].stream].started
    assert all(not r.complete for r in records.values())


def test_the_same_id_of_two_tenants_is_two_calls(client: query.Client) -> None:
    call_id = new_call_id(NOW_US)
    store(client, [*whole(call_id, turn(100)), *whole(call_id, turn(900), tenant="umbrella")])
    assert [(r.tenant, r.slowest_us) for r in read_calls(client, [call_id])] == [
        ("acme", 100 * MS),
        ("umbrella", 900 * MS),
    ]
    lines = list_calls(client, Filters(), objectives())
    assert [(line.tenant, line.slowest_us, line.complete) for line in lines] == [
        ("umbrella", 900 * MS, True),
        ("acme", 100 * MS, True),
    ]


def test_an_event_of_a_newer_type_is_a_point(client: query.Client, arrow: Any) -> None:
    call_id = new_call_id(NOW_US)
    store(client, whole(call_id))
    row = {"stream": call_id, "seq": 9, "offset": 9, "type": "SafetyTriggered", "payload": '{"type":"SafetyTriggered"}'}
    Writer(client).insert(Log.EVENTS, arrow(Log.EVENTS, {**row, "day": _date(NOW_US // 86_400_000_000)}))
    (record,) = read_calls(client, [call_id])
    assert [(p.type, p.seq) for p in record.points] == [("SafetyTriggered", 9)]


def test_a_record_holds_a_bounded_number_of_events_and_says_so(client: query.Client) -> None:
    one, other = whole(new_call_id(NOW_US), turn(1)), whole(new_call_id(NOW_US), turn(1), gap(1))
    store(client, [*one, *other])
    records = read_calls(client, [one[0].stream, other[0].stream], events_max=4)
    assert [(len(r.events), r.cut, r.complete) for r in records] == [(4, False, True), (4, True, False)]


def test_very_many_calls_make_a_bounded_list(client: query.Client, store_url: str) -> None:
    count = LINES_MAX + 1
    assert count > KEYS_PER_QUERY_MAX
    store(
        client,
        [event for _ in range(count) for event in said(new_call_id(NOW_US), (CallStarted, {"direction": "inbound"}))],
    )
    lines = list_calls(client, Filters(), objectives(), limit=10 * count)
    assert len({line.call_id for line in lines}) == LINES_MAX
    assert all((line.stored, line.said, line.complete) == (1, None, False) for line in lines)
    found = ask_store(store_url, NOW_US)
    assert (found.calls, found.sources, found.incomplete_count) == (count, count, count)
    assert len(found.incomplete) == INCOMPLETE_READ_MAX
    assert {i.last_at for i in found.incomplete} == {NOW_US}
    assert found.youngest_at == NOW_US
