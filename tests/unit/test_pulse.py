"""Beats name every call that a process speaks of, so that one of which nothing arrives is known to be missing."""

from pathlib import Path

from runtime.emit import Context, MemoryLog, Recorder, spooled
from runtime.emit.courier import Delivered
from runtime.emit.keeper import End, Handed, Keeper, LastBeat, Missed
from runtime.emit.pulse import BEAT_EVERY_S, OPEN_CALLS_MAX, QUIET_BEATS_MAX, Head, Pulse
from runtime.events import (
    BEAT_CALLS_MAX,
    CallStarted,
    Direction,
    Event,
    NodeEntered,
    ProducerBeat,
    SourceClosed,
    Topic,
    decode,
    encode,
    is_call_id,
    new_call_id,
)

DAY_US = 86_400_000_000
NOW_US = 20_000 * DAY_US


def head(stream: str, seq: int, type_: str = "NodeEntered", **more: str) -> Head:
    return Head(type_, stream, "runtime", seq, "acme", more.get("campaign", "spring"))


def named(events: list[Event]) -> list[dict[str, int]]:
    return [event.calls for event in events if isinstance(event, ProducerBeat)]


def test_an_open_call_is_named_in_every_beat_with_its_last_seq() -> None:
    pulse = Pulse()
    for seq in range(3):
        pulse.heard(head("call-1", seq))
    assert named(pulse.beats(NOW_US, 0, 0)) == [{"call-1": 2}]
    assert named(pulse.beats(NOW_US, 0, 0)) == [{"call-1": 2}], "it says nothing, and is open still"
    pulse.heard(head("call-1", 3))
    assert named(pulse.beats(NOW_US, 0, 0)) == [{"call-1": 3}]


def test_a_call_shorter_than_a_beat_is_named_once() -> None:
    pulse = Pulse()
    pulse.heard(head("call-1", 0))
    pulse.heard(head("call-1", 1, "SourceClosed"))
    assert named(pulse.beats(NOW_US, 0, 0)) == [{"call-1": 1}]
    assert named(pulse.beats(NOW_US, 0, 0)) == []


def test_more_calls_than_a_beat_holds_are_several_beats() -> None:
    pulse = Pulse()
    for n in range(2 * BEAT_CALLS_MAX + 1):
        pulse.heard(head(f"call-{n}", n))
    said = pulse.beats(NOW_US, 0, 0)
    assert [len(calls) for calls in named(said)] == [BEAT_CALLS_MAX, BEAT_CALLS_MAX, 1]
    assert [event.seq for event in said] == [0, 1, 2]
    assert {call: seq for calls in named(said) for call, seq in calls.items()} == {
        f"call-{n}": n for n in range(2 * BEAT_CALLS_MAX + 1)
    }


def test_each_campaign_has_a_stream_of_its_own_that_is_renewed_daily_and_closed() -> None:
    pulse = Pulse()
    for campaign in ("spring", "autumn"):
        pulse.heard(head(f"call-{campaign}", 0, campaign=campaign))
    first = pulse.beats(NOW_US, 0, 0)
    assert {event.campaign for event in first} == {"spring", "autumn"}
    assert len({event.stream for event in first}) == 2
    assert all(is_call_id(event.stream) for event in first)
    second = pulse.beats(NOW_US + DAY_US, 0, 0)
    ended = [event for event in second if isinstance(event, SourceClosed)]
    assert {event.stream for event in ended} == {event.stream for event in first}
    assert {(event.seq, event.last_seq) for event in ended} == {(1, 1)}
    begun = [event for event in second if isinstance(event, ProducerBeat)]
    assert {event.seq for event in begun} == {0}
    assert not {event.stream for event in begun} & {event.stream for event in first}
    assert {event.stream for event in pulse.close(NOW_US + DAY_US)} == {event.stream for event in begun}
    assert pulse.close(NOW_US + DAY_US) == []


def test_what_a_beat_holds_is_taken_by_every_reader() -> None:
    pulse = Pulse()
    pulse.heard(head(new_call_id(NOW_US), 7))
    [beat] = pulse.beats(NOW_US, 2**40, 2**40)
    assert decode(encode(beat)) == beat


def test_memory_is_bounded_by_calls_and_by_silence() -> None:
    pulse = Pulse()
    for n in range(OPEN_CALLS_MAX + 1):
        pulse.heard(head(f"call-{n}", 0))
    assert sum(map(len, named(pulse.beats(NOW_US, 0, 0)))) == OPEN_CALLS_MAX
    pulse = Pulse()
    pulse.heard(head("call-1", 0))
    beats = [named(pulse.beats(NOW_US, 0, 0)) for _ in range(QUIET_BEATS_MAX + 2)]
    assert (beats[QUIET_BEATS_MAX], beats[QUIET_BEATS_MAX + 1]) == ([{"call-1": 0}], [])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Taking:
    """A courier whose broker has everything at once."""

    def __init__(self) -> None:
        self.values, self.inbox = [], []

    def send(self, lane, sent):
        for number, record in sent:
            self.values.append(record.value)
            self.inbox.append(Delivered(lane, number))

    def renew(self):
        pass

    def close(self):
        pass


def test_beats_come_by_the_clock_and_a_last_one_at_the_end() -> None:
    clock, courier = Clock(), Taking()
    keeper = Keeper(courier, None, Pulse(), clock, lambda: NOW_US / 1e6)
    call = new_call_id(NOW_US)

    def said(seq: int) -> bytes:
        envelope = {"stream": call, "source": "runtime", "at": NOW_US, "v": 1, "tenant": "acme", "campaign": "spring"}
        return encode(NodeEntered(**envelope, seq=seq, turn=0, node="hello"))

    keeper.round([Handed(Topic.CALLS, call, said(0))])
    clock.now = BEAT_EVERY_S - 0.1
    keeper.round([])
    assert named([decode(value) for value in courier.values]) == []
    clock.now = BEAT_EVERY_S
    keeper.round([])
    assert named([decode(value) for value in courier.values]) == [{call: 0}]
    keeper.round([Missed(said(1))])  # dropped at the hand-over, and so not in the log
    keeper.round([LastBeat()])
    assert named([decode(value) for value in courier.values]) == [{call: 0}, {call: 1}]
    last = decode(courier.values[-1])
    assert isinstance(last, SourceClosed)
    assert (last.source, last.last_seq) == ("producer", 2)
    assert keeper.round([End()])


def test_a_log_with_beats_names_the_calls_that_recorders_speak_of(tmp_path: Path) -> None:
    into = MemoryLog()
    log = spooled(into, tmp_path, beats=True)
    call = new_call_id(NOW_US)
    recorder = Recorder(log, Context(call, "acme", "spring", "booker"), "runtime")
    recorder.record(CallStarted, NOW_US, direction=Direction.OUTBOUND)
    recorder.close(NOW_US)
    assert log.close() == 0
    events = [decode(value) for _, value in into.records(Topic.CALLS)]
    [beat] = [event for event in events if isinstance(event, ProducerBeat)]
    assert (beat.of, beat.calls, beat.tenant, beat.campaign) == ("runtime", {call: 1}, "acme", "spring")
    assert log.counts().delivered == {"CallStarted": 1, "SourceClosed": 2, "ProducerBeat": 1}
