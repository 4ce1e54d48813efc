"""Whether all that was said has arrived, as the views tell it: by source, by call, by campaign and by producer."""

import datetime as dt
import time

from ingest import query
from ingest.store.writer import Writer
from ingest.tables import Log
from runtime import events as ev

NOW_US = time.time_ns() // 1000
DAY = dt.datetime.fromtimestamp(NOW_US / 1e6, dt.UTC).date()
HEAD = {"at": NOW_US, "v": 1, "tenant": "acme"}


def told(stream, source, kinds, campaign="spring", **more):
    return [
        kind(stream=stream, source=source, seq=seq, **HEAD, campaign=campaign, **more, **payload)
        for seq, (kind, payload) in enumerate(kinds)
    ]


def whole(stream, source="runtime", campaign="spring"):
    kinds = [(ev.CallStarted, {"direction": ev.Direction.OUTBOUND}), (ev.CallEnded, {"reason": ev.EndReason.FAILED})]
    return told(stream, source, [*kinds, (ev.SourceClosed, {"last_seq": 2})], campaign)


def lost(stream, campaign="spring"):
    return told(stream, "reconciler", [(ev.CallLost, {"producer": "p", "last_seq": 4})], campaign)


def store(client, arrow, *events, offset=0):
    rows = [
        {
            "stream": e.stream, "source": e.source, "seq": e.seq, "day": DAY, "campaign": e.campaign,
            "at": dt.datetime.fromtimestamp(e.at / 1e6, dt.UTC), "type": type(e).__name__,
            "payload": ev.encode(e).decode(), "offset": offset + n,
        }
        for n, e in enumerate(events)
    ]  # fmt: skip
    Writer(client).insert(Log.EVENTS, arrow(Log.EVENTS, *rows))


def states(client):
    return {r["call_id"]: r["state"] for r in query.rows(client, "SELECT call_id, state FROM call_completeness")}


def test_a_call_is_as_complete_as_the_worst_of_its_writers(client, arrow):
    gap = whole("gap")
    door = told("door", "door", [(ev.CallStarted, {"direction": ev.Direction.UNKNOWN})])
    store(client, arrow, *whole("all"), *whole("all", "audio"), *gap[:1], *gap[2:], *gap[2:], *door, offset=0)
    store(
        client,
        arrow,
        *whole("half"),
        *told("half", "audio", [(ev.EventRefused, {"refused": "X", "field": "y"})]),
        offset=50,
    )
    store(client, arrow, *whole("gap", "audio"), *lost("gone"), offset=90)
    assert states(client) == {
        "all": "complete", "gap": "incomplete", "door": "unknown", "half": "unknown", "gone": "lost",
    }  # fmt: skip
    rows = query.rows(client, "SELECT call_id, source, state FROM sources")
    assert {(r["call_id"], r["source"]): r["state"] for r in rows} == {
        ("all", "runtime"): "complete", ("all", "audio"): "complete", ("gap", "runtime"): "incomplete",
        ("gap", "audio"): "complete", ("door", "door"): "unknown", ("half", "runtime"): "complete",
        ("half", "audio"): "unknown",
    }  # fmt: skip
    assert query.rows(client, "SELECT * FROM completeness") == [
        {
            **{"tenant": "acme", "day": DAY, "campaign": "spring", "calls": 5, "complete": 1, "incomplete": 1},
            **{"unknown": 2, "lost": 1, "said": 17, "stored": 16},
        }
    ]


def test_a_producer_s_own_stream_is_no_call_though_it_has_closed(client, arrow):
    beats = [(ev.ProducerBeat, {"of": "runtime"}), (ev.SourceClosed, {"last_seq": 1})]
    store(client, arrow, *whole("all"), *told("beats", ev.PRODUCER, beats))
    assert states(client) == {"all": "complete"}
    assert {r["call_id"] for r in query.rows(client, "SELECT call_id FROM sources")} == {"all"}
    assert len(query.rows(client, "SELECT * FROM producers")) == 1


def test_a_call_that_arrives_after_all_is_lost_no_longer(client, arrow):
    store(client, arrow, *lost("late", campaign=""))
    assert states(client) == {"late": "lost"}
    store(client, arrow, *whole("late"), offset=9)
    assert states(client) == {"late": "complete"}
    row = query.rows(client, "SELECT campaign, calls, lost FROM completeness")
    assert row == [{"campaign": "spring", "calls": 1, "lost": 0}]


def test_a_producer_is_no_call_and_shows_what_its_last_beats_said(client, arrow):
    def beat(seq, after_s, calls, **more):
        head = HEAD | {"at": NOW_US + after_s * 1_000_000}
        return ev.ProducerBeat(
            stream="beats", source="producer", seq=seq, **head, campaign="spring", of="runtime", calls=calls, **more
        )

    many = [{f"c{n}": 1 for n in range(256)}, {"c300": 2}]
    store(client, arrow, beat(0, 0, {"a": 1, "b": 2}, spooled=4, dropped=1))
    store(client, arrow, *(beat(1 + n, 10, calls, spooled=2, dropped=3) for n, calls in enumerate(many)), offset=9)
    store(client, arrow, beat(0, 0, {"a": 1, "b": 2}, spooled=4, dropped=1), offset=20)
    assert states(client) == {}
    assert query.rows(client, "SELECT * FROM sources") == []
    began = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=NOW_US)
    assert query.rows(client, "SELECT * FROM producers") == [
        {
            **{"tenant": "acme", "day": DAY, "producer": "beats", "campaign": "spring", "env": "test"},
            **{"of": "runtime", "first_beat_at": began, "last_beat_at": began + dt.timedelta(seconds=10)},
            **{"open_calls": 257, "spooled": 2, "dropped": 3},
        }
    ]
