"""A call after each of its events: a prefix of its account, and at the end all of it."""

import pytest

from deploy.call.replay import changes, in_order, state_at, step_of
from grafana.call import call_record
from runtime import events as ev
from runtime.events import Outcome, Speaker

CALL, ZERO_US, MS = "01890f3c-5d2e-7a4b-9c8d-1e2f3a4b5c6d", 1_700_000_000_000_000, 1_000


def said(event_type, seq, at_ms, source="runtime", **fields):
    usual = {"stream": CALL, "v": 1, "tenant": "acme", "campaign": "c"}
    return event_type(**usual, source=source, seq=seq, at=ZERO_US + at_ms * MS, **fields)


def call():
    return [
        said(ev.CallStarted, 0, 0, direction=ev.Direction.INBOUND),
        said(ev.NodeEntered, 1, 1, turn=0, node="greet"),
        said(ev.SpeechStarted, 2, 10, turn=1, speaker=Speaker.CALLER),
        said(ev.SpeechEnded, 3, 900, turn=1, speaker=Speaker.CALLER, duration_us=890_000),
        said(ev.SpanEnded, 4, 1_000, turn=1, span=2, parent=1, component="response", duration_us=90_000),
        said(ev.SpanEnded, 5, 1_100, turn=1, span=1, parent=0, component="turn", duration_us=200_000),
        said(ev.TurnEnded, 6, 1_100, turn=1, outcome=Outcome.ANSWERED, latency_us=200_000),
        said(ev.GlitchDetected, 0, 1_050, source="audio", turn=1, detector=ev.Detector.AUDIO,
             kind=ev.GlitchKind.UNDERRUN, gap_ms=41.5),
        said(ev.DispositionSet, 7, 1_200, disposition="booked"),
        said(ev.SourceClosed, 1, 1_300, source="audio", last_seq=1),
        said(ev.CallEnded, 8, 1_400, reason=ev.EndReason.AGENT_ENDED),
        said(ev.SourceClosed, 9, 1_400, last_seq=9),
    ]  # fmt: skip


def at(seq, source="runtime"):
    events = in_order(call())
    return state_at(events, step_of(events, seq, source))


def test_the_last_state_is_the_record_of_the_call_however_its_events_came():
    record, events = call_record(call()), in_order(call()[::-1])
    state = state_at(events, len(events))
    assert (state.complete, state.ended, state.disposition) == (True, record.ended, record.disposition)
    assert {t.turn: t.said for t in state.turns} == {t.number: t.outcome for t in record.turns if t.number}
    assert (state.spans_closed, state.spans_open, state.glitches) == (2, (), 1)


def test_a_state_knows_nothing_of_what_comes_after_it():
    assert at(2).speaking == ("caller",)
    assert at(3).speaking == ()
    assert at(4).spans_open == ("runtime/1",)
    assert at(5).spans_open == ()
    assert [t.said for t in at(5).turns] == [""]
    assert at(7).disposition == "booked"
    assert not at(8).complete
    assert at(9).complete


def test_each_step_adds_one_event_in_the_order_of_every_source():
    events = in_order(call())
    for n in range(1, len(events) + 1):
        assert state_at(events, n).step == n
    for source in ("runtime", "audio"):
        seqs = [e.seq for e in events if e.source == source]
        assert seqs == sorted(seqs)
    assert changes(state_at(events, 1), state_at(events, 2))["node"] == "greet"


def test_a_clock_that_goes_back_does_not_turn_an_account_round():
    back = [said(ev.NodeEntered, n, 100 - n, turn=0, node=f"n{n}") for n in range(3)]
    assert [e.seq for e in in_order(back[::-1])] == [0, 1, 2]


def test_a_seq_that_the_source_has_not_is_named():
    with pytest.raises(LookupError, match="no event 99"):
        step_of(in_order(call()), 99, "runtime")
