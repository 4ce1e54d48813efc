"""Late, repeated, out-of-order spans; restarts; a log that takes nothing. Told once, under one identity."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from grafana.call.fold import call_record
from ingest.door import limits
from ingest.door.call import Envelope
from ingest.door.desk import Desk
from ingest.door.journal import NAME, Journal, JournalHeld, JournalUnusable
from ingest.door.meters import DoorMeters
from ingest.door.span import ForeignSpan
from ingest.door.told import SOURCE, began_us, call_id, numbered, seq_of
from ingest.door.traces import Fate, Patience, Traces
from runtime.emit import MemoryLog
from runtime.events import (
    UNCOUNTED,
    CallEnded,
    CallStarted,
    Event,
    Metric,
    SpanEnded,
    Topic,
    TurnEnded,
    day_of_call,
    decode,
    is_call_id,
)
from tests.unit.foreign import NOW_US, TRACE, of, read, recorded, span
from tests.unit.test_door_pipecat import answered, conversation, turn

PATIENCE = Patience(settle_s=10, idle_s=100, linger_s=300)
OTHER = "0af7651916cd43dd8448eb211c803100"


class Stubborn(MemoryLog):
    """A log that takes nothing while `away`."""

    away = False

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        if self.away:
            self.dropped += 1
        else:
            super().append(topic, key, value)


def desk(log: MemoryLog, folder: Path | None = None, **limits_: int) -> Desk:
    traces = Traces(PATIENCE, **limits_)
    journal = Journal(folder, to_disk=lambda _: None) if folder else None
    if journal:
        journal.restore(traces, Envelope(), 0)
    made = Desk(traces, log, Envelope(), DoorMeters(), journal)
    made.journal_of_test = journal  # type: ignore[attr-defined]
    return made


def killed(made: Desk) -> None:
    """What remains of a door that was killed is its journal."""
    made.journal_of_test.close()  # type: ignore[attr-defined]


def said(log: MemoryLog) -> list[Event]:
    return [decode(value) for topic in (Topic.CALLS, Topic.CONTENT) for _, value in log.records(topic)]


def whole() -> list[ForeignSpan]:
    return read([*answered(10), *answered(20, 2, 4_000), conversation()])


def identities(events: Iterable[Event]) -> Counter[tuple[str, str, int]]:
    return Counter((e.stream, e.source, e.seq) for e in events)


# ── identities ──


def test_a_call_s_id_is_a_uuid7_of_its_start_that_ends_as_the_trace_id() -> None:
    call = call_id(TRACE, NOW_US)
    assert is_call_id(call)
    assert began_us(call) == NOW_US
    assert day_of_call(call) == NOW_US // 86_400_000_000
    assert call.replace("-", "")[-15:] == TRACE[-15:]
    assert call_id(TRACE, NOW_US) == call != call_id(OTHER, NOW_US)


def test_an_identity_is_of_the_foreign_span_and_nothing_else() -> None:
    assert seq_of("00f067aa0ba902b7:span") == 476_350_522
    assert all(0 <= seq_of(str(n)) < 2**32 for n in range(1_000))


def test_numbers_that_were_given_stay_when_others_come() -> None:
    log, late = MemoryLog(), [span("llm", 100, 300, {"metrics.ttfb": 0.1}, id=90, parent=10)]
    door = desk(log)
    door.take(whole(), 0)
    door.tell(10)
    before = {(e.seq, e.span) for e in of(said(log), SpanEnded)}
    door.take(read(late), 11)
    door.tell(21)
    after = {(e.seq, e.span) for e in of(said(log), SpanEnded)}
    assert before < after
    assert len(after - before) == 1
    assert numbered([], call_id(TRACE, NOW_US), {"a": 3}) == {"a": 3}


# ── when a call is told ──


def test_a_call_is_told_when_it_is_over_and_has_settled() -> None:
    log = MemoryLog()
    door = desk(log)
    door.take(whole(), 0)
    door.tell(9.9)
    assert not said(log)
    door.tell(10)
    assert len(of(said(log), TurnEnded)) == 2
    assert len(of(said(log), CallEnded)) == 1


def test_a_call_without_an_end_is_told_after_silence_and_has_none() -> None:
    log = MemoryLog()
    door = desk(log)
    door.take(read(answered(10)), 0)
    door.tell(99)
    assert not said(log)
    door.tell(100)
    assert len(of(said(log), TurnEnded)) == 1
    assert not of(said(log), CallEnded)


def test_an_end_that_comes_after_the_silence_joins_the_same_call() -> None:
    log = MemoryLog()
    door = desk(log)
    door.take(read(answered(10)), 0)
    door.tell(100)
    door.take(read([conversation()]), 150)
    door.tell(160)
    assert len({e.stream for e in said(log)}) == 1
    assert len(of(said(log), CallEnded)) == len(of(said(log), CallStarted)) == 1
    assert max(identities(said(log)).values()) == 1


def test_spans_after_the_end_of_a_call_join_it_and_change_nothing_that_was_said() -> None:
    log = MemoryLog()
    door = desk(log)
    spans = whole()
    late = [s for s in spans if s.name == "tts"]
    door.take([s for s in spans if s not in late], 0)
    door.tell(10)
    first = said(log)
    door.take(late, 20)
    door.tell(30)
    assert said(log)[: len(first)] == first
    more = said(log)[len(first) :]
    assert {(type(e), e.component) for e in of(more, SpanEnded)} == {(SpanEnded, "tts")}
    assert len(more) == 2
    assert max(identities(said(log)).values()) == 1


def test_the_same_span_in_another_request_is_told_once() -> None:
    log = MemoryLog()
    door = desk(log)
    for at in (0, 1, 2):
        door.take(whole(), at)
    door.tell(12)
    door.take(whole(), 13)
    door.tell(30)
    assert max(identities(said(log)).values()) == 1
    assert len(of(said(log), TurnEnded)) == 2


def test_what_comes_when_the_call_is_forgotten_begins_no_second_one() -> None:
    log = MemoryLog()
    door = desk(log)
    door.take(whole(), 0)
    door.tell(10)
    door.tell(310)  # it lingered
    count = len(said(log))
    door.take(read([span("tts", 8_000, 8_500, {"metrics.ttfb": 0.1}, id=99, parent=20)]), 311)
    door.tell(1_000)
    assert len(said(log)) == count


def test_calls_in_one_request_are_told_apart() -> None:
    log = MemoryLog()
    door = desk(log)
    other = [(scope, {**made, "traceId": OTHER}) for scope, made in [*answered(10), conversation()]]
    door.take([*whole(), *read(other)], 0)
    door.tell(10)
    assert Counter(e.stream for e in of(said(log), TurnEnded)) == {
        call_id(TRACE, NOW_US): 2,
        call_id(OTHER, NOW_US): 1,
    }


def test_a_trace_in_which_nobody_spoke_is_no_call() -> None:
    log = MemoryLog()
    door = desk(log)
    door.take(read([span("GET /health", 0, 10, {"http.route": "/health"}, id=1, scope="http")]), 0)
    door.tell(1_000)
    assert not said(log)


# ── a door that was killed ──


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_door_that_is_killed_in_a_call_loses_nothing_that_it_took(tmp_path: Path, cut: int) -> None:
    spans, log, expected = whole(), MemoryLog(), MemoryLog()
    undisturbed = desk(expected)
    undisturbed.take(spans, 0)
    undisturbed.tell(10)
    first = desk(log, tmp_path)
    first.take(spans[:cut], 0)
    killed(first)
    second = desk(log, tmp_path)
    second.take(spans[max(0, cut - 2) :], 1)  # the sender was not answered, and sends its last batch again
    second.tell(11)
    assert identities(said(log)) == identities(said(expected))
    assert sorted(said(log), key=lambda e: e.seq) == sorted(said(expected), key=lambda e: e.seq)
    killed(second)


def test_a_door_that_is_killed_after_a_call_was_told_does_not_tell_it_again(tmp_path: Path) -> None:
    log = MemoryLog()
    first = desk(log, tmp_path)
    first.take(whole(), 0)
    first.tell(10)
    killed(first)
    count = len(said(log))
    second = desk(log, tmp_path)
    second.take(whole()[-2:], 1)
    second.tell(1_000)
    assert len(said(log)) == count
    killed(second)
    third = desk(log, tmp_path)  # it was forgotten meanwhile
    third.take(whole(), 1)
    third.tell(2_000)
    assert len(said(log)) == count
    killed(third)


def test_a_door_that_is_killed_between_the_log_and_its_journal_repeats_identities(tmp_path: Path) -> None:
    log = MemoryLog()
    first = desk(log, tmp_path)
    first.take(whole(), 0)
    journal = tmp_path / NAME
    before = journal.read_bytes()
    first.tell(10)
    killed(first)
    journal.write_bytes(before)
    second = desk(log, tmp_path)
    second.tell(1_000)
    assert set(identities(said(log)).values()) == {2}
    assert len(set(map(repr, said(log)))) == len(said(log)) / 2  # and word by word the same
    killed(second)


def test_without_a_journal_the_same_spans_have_the_same_identities(tmp_path: Path) -> None:
    logs = [MemoryLog(), MemoryLog()]
    for log in logs:
        door = desk(log)
        door.take(whole(), 0)
        door.tell(10)
    assert said(logs[0]) == said(logs[1])


def test_a_line_that_was_cut_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    log = MemoryLog()
    first = desk(log, tmp_path)
    first.take(whole(), 0)
    killed(first)
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"span":{"trace":"0af7')
    second = desk(log, tmp_path)
    second.take(read([span("tts", 8_000, 8_500, {"metrics.ttfb": 0.1}, id=99, parent=20)]), 1)
    killed(second)
    third = desk(log, tmp_path)
    third.tell(100)
    assert len(of(said(log), TurnEnded)) == 2
    assert [s.component for s in of(said(log), SpanEnded)].count("tts") == 3
    killed(third)


def test_a_journal_is_written_anew_when_it_is_large_and_says_the_same(tmp_path: Path) -> None:
    log = MemoryLog()
    traces = Traces(PATIENCE)
    journal = Journal(tmp_path, 2_000)
    door = Desk(traces, log, Envelope(), DoorMeters(), journal)
    door.take(whole(), 0)
    door.tell(10)
    door.tell(400)
    size = (tmp_path / NAME).stat().st_size
    assert size < 200  # one trace that is closed
    journal.close()
    again = desk(log, tmp_path)
    again.take(whole(), 1)
    count = len(said(log))
    again.tell(1_000)
    assert len(said(log)) == count
    killed(again)


def test_a_journal_is_its_owner_s_alone_and_one_door_s(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "door")
    assert (tmp_path / "door" / NAME).stat().st_mode & 0o777 == 0o600
    with pytest.raises(JournalHeld, match="another door"):
        Journal(tmp_path / "door")
    journal.close()
    Journal(tmp_path / "door").close()
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnusable, match="cannot keep its journal"):
        Journal(tmp_path / "file")


# ── words leave the journal ──


class Crash(BaseException):
    """The process is no more."""


def worded(trace: str, heard: str) -> list[ForeignSpan]:
    stt = span("stt", 0, 1_300, {"metrics.ttfb": 0.3, "transcript": heard}, id=91, parent=10)
    made = [*answered(10), stt, conversation()]
    return read([(scope, {**one, "traceId": trace}) for scope, one in made], content=True)


def on_disk(folder: Path) -> str:
    """All that the folder holds, also what was left beside the journal."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()))


@pytest.fixture
def rewrites(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Grows by one each time that a journal is written anew."""
    made: list[Path] = []
    replace = Path.replace

    def counted(beside: Path, target: Path) -> Path:
        made.append(target)
        return replace(beside, target)

    monkeypatch.setattr(Path, "replace", counted)
    return made


def test_the_words_of_a_closed_call_leave_the_journal_and_those_of_others_stay(tmp_path: Path) -> None:
    log = MemoryLog()
    door = desk(log, tmp_path)
    door.take(worded(TRACE, "Ottilie"), 0)
    door.tell(10)
    door.take(worded(OTHER, "Balthasar"), 200)
    door.tell(299)
    assert "Ottilie" in on_disk(tmp_path)
    door.tell(300)  # nothing comes: it is the tick
    assert "Ottilie" not in on_disk(tmp_path)
    assert "Balthasar" in on_disk(tmp_path)
    killed(door)
    count = len(said(log))
    again = desk(log, tmp_path)
    again.take(worded(TRACE, "Ottilie"), 301)
    again.tell(1_000)
    assert len(said(log)) == count  # both are known
    killed(again)


def test_a_journal_is_written_anew_when_something_was_closed_and_once_a_minute(
    tmp_path: Path, rewrites: list[Path]
) -> None:
    door = desk(MemoryLog(), tmp_path)
    assert len(rewrites) == 1  # as each door begins
    for at, trace in enumerate((TRACE, OTHER)):
        door.take(worded(trace, f"heard {trace}"), at)
    for at in range(2, 300):
        door.tell(at)
    assert len(rewrites) == 1
    door.tell(300)
    assert len(rewrites) == 2
    door.tell(301)  # the other one is closed
    door.tell(300 + limits.JOURNAL_REWRITE_S - 1)
    assert len(rewrites) == 2
    assert f"heard {OTHER}" in on_disk(tmp_path)
    door.tell(300 + limits.JOURNAL_REWRITE_S)
    assert len(rewrites) == 3
    assert "heard" not in on_disk(tmp_path)
    for at in range(361, 2_000, 30):
        door.tell(at)
    door.stop(2_000)
    assert len(rewrites) == 3
    killed(door)


def test_a_door_that_is_stopped_leaves_no_words_of_closed_calls(tmp_path: Path) -> None:
    door = desk(MemoryLog(), tmp_path)
    door.take(worded(OTHER, "Balthasar"), 0)
    door.take(worded(TRACE, "Ottilie"), 1)
    door.tell(20)
    door.tell(300)
    door.tell(301)
    assert "Ottilie" in on_disk(tmp_path)
    door.stop(302)
    assert "Ottilie" not in on_disk(tmp_path)
    killed(door)


def test_a_door_that_starts_writes_only_what_is_held(tmp_path: Path) -> None:
    log = MemoryLog()
    first = desk(log, tmp_path)
    first.take(worded(TRACE, "Ottilie"), 0)
    first.take(worded(OTHER, "Balthasar"), 200)
    first.tell(210)
    before = (tmp_path / NAME).read_bytes()
    first.tell(300)
    killed(first)
    closed = (tmp_path / NAME).read_bytes().split(b"\n")[0]
    (tmp_path / NAME).write_bytes(before + closed + b"\n")  # killed within the minute
    (tmp_path / "door.new").write_text("Ottilie")  # or while it was written
    again = desk(log, tmp_path)
    assert "Ottilie" not in on_disk(tmp_path)
    assert "Balthasar" in on_disk(tmp_path)
    count = len(said(log))
    again.take([*worded(TRACE, "Ottilie"), *worded(OTHER, "Balthasar")], 1)
    again.tell(1_000)
    assert len(said(log)) == count
    killed(again)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_door_that_is_killed_while_it_writes_anew_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    replace = Path.replace

    def crash(beside: Path, target: Path) -> None:
        if replaced:
            replace(beside, target)
        raise Crash

    log = MemoryLog()
    first = desk(log, tmp_path)
    first.take(worded(TRACE, "Ottilie"), 0)
    first.tell(10)
    first.take(worded(OTHER, "Balthasar")[:3], 299)
    with monkeypatch.context() as dying:
        dying.setattr(Path, "replace", crash)
        with pytest.raises(Crash):
            first.tell(300)
    killed(first)
    again = desk(log, tmp_path)
    assert "Ottilie" not in on_disk(tmp_path)
    again.take(worded(OTHER, "Balthasar")[3:], 1)
    again.take(worded(TRACE, "Ottilie"), 1)
    again.tell(11)
    assert max(identities(said(log)).values()) == 1
    assert {e.stream for e in of(said(log), TurnEnded)} == {call_id(TRACE, NOW_US), call_id(OTHER, NOW_US)}
    killed(again)


def test_a_call_that_was_told_in_part_keeps_its_numbers_when_the_journal_is_written_anew(
    tmp_path: Path, rewrites: list[Path]
) -> None:
    log = MemoryLog()
    first = desk(log, tmp_path)
    first.take(worded(OTHER, "Balthasar"), 0)
    first.take(read([*answered(10), *answered(30, 3, 8_000), conversation(12_000)]), 280)
    first.tell(290)
    first.take(read([*answered(20, 2, 4_000)]), 295)
    first.tell(300)
    assert len(rewrites) == 2
    killed(first)
    again = desk(log, tmp_path)
    again.tell(30)
    turns = [t for t in of(said(log), TurnEnded) if t.stream == call_id(TRACE, NOW_US)]
    assert [t.turn for t in turns] == [1, 2, 3]
    assert [t.at for t in turns] == [NOW_US + ms * 1_000 for ms in (3_000, 11_000, 7_000)]
    assert max(identities(said(log)).values()) == 1
    killed(again)


def test_words_of_delivered_calls_leave_while_the_log_takes_nothing(tmp_path: Path) -> None:
    log = Stubborn()
    door = desk(log, tmp_path)
    door.take(worded(TRACE, "Ottilie"), 0)
    door.tell(10)
    log.away = True
    door.take(worded(OTHER, "Balthasar"), 20)
    assert not door.tell(30)
    assert not door.tell(300)
    assert "Ottilie" not in on_disk(tmp_path)
    assert "Balthasar" in on_disk(tmp_path)
    log.away = False
    assert door.tell(10_000)
    assert {e.stream for e in of(said(log), TurnEnded)} == {call_id(TRACE, NOW_US), call_id(OTHER, NOW_US)}
    killed(door)


def test_a_disk_that_does_not_let_the_journal_be_written_anew_is_said_once_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full, asked = [False], []

    def to_disk(_: int) -> None:
        if full[0] and (tmp_path / "door.new").exists():
            asked.append(1)
            raise OSError(28, "No space left on device")

    log, traces = MemoryLog(), Traces(PATIENCE)
    journal = Journal(tmp_path, to_disk=to_disk)
    door = Desk(traces, log, Envelope(), DoorMeters(), journal)
    door.take(worded(TRACE, "Ottilie"), 0)
    door.tell(10)
    full[0] = True
    for at in range(300, 420):
        door.tell(at)
    assert len(asked) == 2
    door.take(worded(OTHER, "Balthasar"), 421)
    door.tell(431)  # lines are taken meanwhile
    door.tell(490)
    assert len(asked) == 3
    assert len(caplog.messages) == 1
    assert not (tmp_path / "door.new").exists()
    journal.close()
    starting = Journal(tmp_path, to_disk=to_disk)
    again = Desk(traces := Traces(PATIENCE), log, Envelope(), DoorMeters(), starting)
    starting.restore(traces, Envelope(), 0)
    assert len(traces) == 1
    assert len(traces.closed()) == 1
    again.tell(1)
    assert len(caplog.messages) == 2
    assert "Ottilie" in on_disk(tmp_path)
    full[0] = False
    again.tell(61)
    assert "Ottilie" not in on_disk(tmp_path)
    assert "Balthasar" in on_disk(tmp_path)
    starting.close()


# ── a log that is away ──


class Slow(MemoryLog):
    """A log whose broker answers later."""

    waiting = 1

    def flush(self, timeout_s: float = 10.0) -> int:
        return self.waiting if timeout_s else 0


def test_what_the_log_has_and_has_not_delivered_is_not_said_again() -> None:
    log = Slow()
    door = desk(log)
    door.take(whole(), 0)
    assert not door.tell(10)
    assert not door.tell(11)
    log.waiting = 0
    assert door.tell(12)
    assert len(of(said(log), TurnEnded)) == 2


def test_what_the_log_does_not_take_is_said_again() -> None:
    log = Stubborn()
    door = desk(log)
    door.take(whole(), 0)
    log.away = True
    assert not door.tell(10)
    assert not said(log)
    log.away = False
    assert door.tell(11)
    assert len(of(said(log), TurnEnded)) == 2
    assert max(identities(said(log)).values()) == 1


# ── a disk that is full ──


def test_spans_that_the_disk_does_not_take_are_not_taken(tmp_path: Path) -> None:
    full = [True]

    def to_disk(_: int) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")

    log, traces = MemoryLog(), Traces(PATIENCE)
    journal = Journal(tmp_path, to_disk=to_disk)
    door = Desk(traces, log, Envelope(), DoorMeters(), journal)
    with pytest.raises(OSError, match="No space left"):
        door.take(whole(), 0)
    assert (len(traces), traces.bytes, traces.spans) == (0, 0, 0)
    full[0] = False
    assert not door.take(whole(), 1)  # the sender sends them again
    full[0] = True
    assert door.tell(11)  # what was said stays said
    assert len(of(said(log), TurnEnded)) == 2
    assert door.tell(12)
    assert len(of(said(log), TurnEnded)) == 2
    journal.close()


def test_a_call_that_no_map_can_read_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object) -> list[Event]:
        raise OverflowError("Ottilie")

    log = MemoryLog()
    door = desk(log)
    door.take(whole(), 0)
    with monkeypatch.context() as broken:
        broken.setattr("ingest.door.desk.tell", unreadable)
        assert door.tell(10)
    door.take(read([(scope, {**made, "traceId": OTHER}) for scope, made in [*answered(10), conversation()]]), 11)
    assert door.tell(21)
    assert {e.stream for e in said(log)} == {call_id(OTHER, NOW_US)}


def test_a_call_that_no_map_can_read_keeps_no_door_from_starting_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreadable(*_: object) -> list[Event]:
        raise OverflowError("Ottilie")

    journal, traces = Journal(tmp_path), Traces(PATIENCE)
    door = Desk(traces, MemoryLog(), Envelope(), DoorMeters(), journal)
    for module in ("desk", "journal"):
        monkeypatch.setattr(f"ingest.door.{module}.tell", unreadable)
    door.take(whole(), 0)
    assert door.tell(10)
    journal.close()
    again = Journal(tmp_path)
    assert again.restore(Traces(PATIENCE), Envelope(), 11) == len(whole())
    again.close()


# ── limits ──


def test_a_trace_takes_so_many_spans() -> None:
    traces = Traces(PATIENCE, spans_max=3)
    assert [traces.offer(s, 0) for s in whole()[:4]] == [Fate.TAKEN, Fate.TAKEN, Fate.TAKEN, Fate.TOO_MANY]
    assert limits.SPANS_PER_TRACE_MAX == 20_000


def test_when_too_many_traces_are_held_the_most_silent_is_told_and_forgotten() -> None:
    log = MemoryLog()
    door = desk(log, traces_max=2)
    for place in range(3):
        trace = f"{place + 1:032x}"
        door.take(read([(scope, {**made, "traceId": trace}) for scope, made in answered(10)]), place)
    door.tell(3)
    assert {e.stream for e in said(log)} == {call_id(f"{1:032x}", NOW_US)}
    door.take(read([(scope, {**made, "traceId": f"{1:032x}"}) for scope, made in answered(20, 2)]), 4)
    door.tell(1_000)
    assert len([e for e in of(said(log), TurnEnded) if e.stream == call_id(f"{1:032x}", NOW_US)]) == 1


def test_so_many_bytes_are_held() -> None:
    traces = Traces(PATIENCE, bytes_max=5_000)
    for made in whole():
        traces.offer(made, 0)
    assert traces.full
    for trace, _ in list(traces.due(0, at_once=True)):
        traces.told(trace)
    traces.forget(1_000)
    assert not traces.full
    assert (traces.bytes, traces.spans, len(traces)) == (0, 0, 0)


def test_so_many_closed_traces_are_remembered_and_for_a_day() -> None:
    traces = Traces(PATIENCE, remembered_max=2)
    for place in range(3):
        traces.close(str(place), 0)
    traces.forget(1)
    assert traces.closed() == ["1", "2"]
    traces.forget(86_402)
    assert traces.closed() == []


# ── figures ──


def test_the_meters_tell_what_became_of_spans() -> None:
    log, meters = MemoryLog(), DoorMeters()
    door = Desk(Traces(PATIENCE), log, Envelope(), meters)
    spans = whole()
    door.take(spans, 0)
    door.take(spans, 1)
    door.take(read([(scope, {**made, "traceId": OTHER}) for scope, made in [span("x", 0, 1, id=1, scope="http")]]), 1)
    door.tell(1_000)
    door.tell(2_000)
    door.take(spans[:1], 2_001)
    meters.refused("size")
    families = list(meters.registry.collect())
    assert {family.name for family in families} == {m for m in Metric if m.startswith("turnlog_door_")}

    def figure(name: str, **labels: str) -> float | None:
        return meters.registry.get_sample_value(name, labels)

    assert figure("turnlog_door_spans_total") == len(spans) + 1
    assert figure("turnlog_door_dropped_total", reason="repeated") == len(spans)
    assert figure("turnlog_door_dropped_total", reason="late") == 1
    assert figure("turnlog_door_dropped_total", reason="no_dialect") == 1
    assert figure("turnlog_door_events_total") == len(said(log))
    assert figure("turnlog_door_held_traces") == 0


def test_a_recorded_call_in_pieces_of_any_size_is_the_same_call() -> None:
    _, spans = recorded("livekit-1.8.9.jsonl")
    expected: list[Any] = []
    for size in (1, 7, 1_000):
        log = MemoryLog()
        door = desk(log)
        for start in range(0, len(spans), size):
            door.take(spans[start : start + size], 0)
        door.tell(10)
        expected = expected or said(log)
        assert said(log) == expected
    assert len(of(expected, TurnEnded)) == 3


def test_a_turn_of_the_middle_that_comes_late_keeps_the_numbers_of_the_others() -> None:
    log = MemoryLog()
    door = desk(log)
    middle = read([*answered(20, 2, 4_000)])
    door.take(read([*answered(10), *answered(30, 3, 8_000), conversation(12_000)]), 0)
    door.tell(10)
    door.take(middle, 11)
    door.tell(30)
    assert [t.turn for t in of(said(log), TurnEnded)] == [1, 2, 3]
    assert [t.at for t in of(said(log), TurnEnded)] == [NOW_US + ms * 1_000 for ms in (3_000, 11_000, 7_000)]


def test_a_span_of_a_turn_is_of_the_turn_that_it_is_part_of() -> None:
    inner = span("chat gpt", 1_510, 1_890, {"gen_ai.operation.name": "chat"}, id=77, parent=12, scope="openai")
    log = MemoryLog()
    door = desk(log)
    door.take(read([turn(1, 0, 100, 5), *answered(10, 2, 1_000), inner, conversation()]), 0)
    door.tell(10)
    assert [(s.turn, s.component) for s in of(said(log), SpanEnded) if s.component == "chat"] == [(1, "chat")]


def test_nobody_calls_a_call_of_the_door_complete_or_incomplete() -> None:
    log = MemoryLog()
    door = desk(log)
    door.take(whole(), 0)
    door.tell(10)
    assert SOURCE in UNCOUNTED
    record = call_record(said(log))
    assert (record.complete, record.unknown) == (False, True)
    assert [(s.name, s.said, s.missing) for s in record.sources] == [("door", None, ())]
    assert not any(span.orphan for turn in record.turns for span in turn.spans)
