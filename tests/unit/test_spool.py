"""What lies on a producer's disk: who may read it, how long, in what order, and what of it survives."""

import os
import stat
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from runtime.emit import Handover, MemoryLog, SpoolUnusable, expose, spooled
from runtime.emit.courier import Delivered, LogCourier
from runtime.emit.disk import Disk
from runtime.emit.folder import SpoolFolder
from runtime.emit.frames import Record, decode_frame, encode_frame, kind_of
from runtime.emit.handover import PROTECTED_EXTRA_RECORDS
from runtime.emit.spool import FACTS, WORDS, WORDS_AGE_MAX_S, Room, Spool
from runtime.events import ALL_TYPES, PROTECTED_TYPES, Label, Loss, Metric, Topic

DAY_S = 86_400.0


def record(n: int, kind: str = "NodeEntered", topic: Topic = Topic.CALLS) -> Record:
    return Record(topic, "call-1", b'{"type":"%s","n":%d}' % (kind.encode(), n))


def read_all(spool: Spool) -> list[bytes]:
    values = []
    while (found := spool.read()) is not None:
        values.append(found.record.value)
    return values


class Frozen:
    """A courier whose broker says nothing."""

    def __init__(self, _report) -> None:
        self.sent = []

    def send(self, _lane, sent):
        self.sent += sent

    def renew(self):
        pass

    def close(self):
        pass


# ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_frame_is_read_back_and_no_piece_of_one_is() -> None:
    frame = encode_frame(7, 1_000, Record(Topic.CALLS, "clé", b"value"))
    found = decode_frame(frame)
    assert found is not None
    assert (found.number, found.at_ms, found.record) == (7, 1_000, Record(Topic.CALLS, "clé", b"value"))
    assert all(decode_frame(frame[:end]) is None for end in range(len(frame)))
    assert decode_frame(bytes(4_096)) is None, "allocated room is no frame"


def test_a_frame_with_one_bit_changed_is_none() -> None:
    frame = encode_frame(7, 1_000, record(1))
    for place in range(len(frame)):
        assert decode_frame(frame[:place] + bytes([frame[place] ^ 1]) + frame[place + 1 :]) is None


def test_a_kind_is_one_of_a_closed_set() -> None:
    assert kind_of(record(1).value) == "NodeEntered"
    for value in (b'{"type":"Invented"}', b"words", b'{"type":5}', b"\xff", b""):
        assert kind_of(value) == "other"


# ── on disk ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_else_can_read_what_waits(tmp_path: Path) -> None:
    os.umask(0)
    try:
        log = Handover(Frozen, SpoolFolder(tmp_path / "spool"))
        log.append(*record(1))
        log.append(*record(2, "WordsSaid", Topic.CONTENT))
        assert log.close(0.01) == 2
    finally:
        os.umask(0o022)
    made = list((tmp_path / "spool").rglob("*"))
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "spool", *made)}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_words_lie_in_files_of_their_own(tmp_path: Path) -> None:
    log = Handover(Frozen, SpoolFolder(tmp_path))
    log.append(*record(1))
    log.append(Topic.CONTENT, "call-1", b'{"type":"WordsSaid","text":"plum"}')
    log.close(0.01)
    holding = [path.name for path in tmp_path.rglob("*.log") if b"plum" in path.read_bytes()]
    assert holding
    assert all(name.startswith("words-") for name in holding)


def test_words_that_waited_too_long_are_dropped_and_facts_are_not(tmp_path: Path) -> None:
    now = 10 * DAY_S
    assert WORDS_AGE_MAX_S <= 7 * DAY_S
    words = Spool(tmp_path, "words", WORDS, lambda: now, Disk())
    facts = Spool(tmp_path, "facts", FACTS, lambda: now, Disk())
    for n in range(3):
        words.put(record(n, "WordsSaid", Topic.CONTENT), "WordsSaid", n)
        facts.put(record(n), "NodeEntered", n)
    now += WORDS_AGE_MAX_S - 1
    words.expire()
    assert words.records == 3
    now += 2
    words.expire()
    facts.expire()
    assert (words.records, words.dropped) == (0, {("WordsSaid", Loss.AGED): 3})
    assert not list(tmp_path.glob("words-*"))
    assert len(read_all(facts)) == 3


def test_a_torn_tail_is_cut_and_what_is_before_it_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "facts", FACTS, lambda: 0.0, Disk())
    for n in range(3):
        spool.put(record(n), "NodeEntered", n)
    spool.close()
    [file] = tmp_path.glob("facts-*")
    file.write_bytes(file.read_bytes() + encode_frame(3, 0, record(3))[:-5])
    again = Spool(tmp_path, "facts", FACTS, lambda: 0.0, Disk())
    assert (again.found, again.next_number) == ({"NodeEntered": 3}, 3)
    again.put(record(9), "NodeEntered", 3)
    assert read_all(again) == [record(n).value for n in (0, 1, 2, 9)]


def test_a_file_that_rots_costs_its_rest_and_is_counted(tmp_path: Path) -> None:
    room = Room(segment_bytes=300)
    spool = Spool(tmp_path, "facts", room, lambda: 0.0, Disk())
    for n in range(12):
        spool.put(record(n), "NodeEntered", n)
    first, *_ = sorted(tmp_path.glob("facts-*"))
    first.write_bytes(bytes(first.stat().st_size))
    values = read_all(spool)
    lost = spool.dropped["NodeEntered", Loss.DAMAGED]
    assert 0 < lost < 12
    assert values == [record(n).value for n in range(lost, 12)]


def test_the_reserve_takes_what_must_not_be_lost_and_the_order_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "facts", Room(bytes_max=400, slots=2, slot_bytes=500), lambda: 0.0, Disk())
    n, taken, said = 0, [], []
    while spool.free_ratio > 0.2:
        kind = ("NodeEntered", "DispositionSet")[n % 2]
        outcome = spool.put(record(n, kind), kind, n)
        said.append(kind)
        if not isinstance(outcome, Loss):
            taken.append(record(n, kind).value)
        n += 1
    assert said.count("DispositionSet") == sum(b"DispositionSet" in value for value in taken)
    assert 0 < sum(b"NodeEntered" in value for value in taken) < said.count("NodeEntered")
    assert read_all(spool) == taken
    spool.close()
    assert (
        read_all(Spool(tmp_path, "facts", Room(bytes_max=400, slots=2, slot_bytes=500), lambda: 0.0, Disk())) == taken
    )


def test_a_reserve_that_is_drained_is_whole_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "facts", Room(bytes_max=0, slots=3, slot_bytes=300), lambda: 0.0, Disk())
    number = 0
    for _ in range(20):
        while not isinstance(spool.put(record(number, "ConsentRevoked"), "ConsentRevoked", number), Loss):
            number += 1
        assert spool.free_ratio < 0.5
        while (found := spool.read()) is not None:
            spool.done(found.segment, found.kind)
        assert (spool.free_ratio, spool.records) == (1.0, 0)
    assert {path.stat().st_size for path in tmp_path.glob("reserve-*")} == {300}


@pytest.mark.parametrize("limits", [{"records_max": 5}, {"bytes_max": 500}])
def test_ordinary_room_has_its_limits(tmp_path: Path, limits: dict[str, int]) -> None:
    spool = Spool(tmp_path, "facts", Room(**limits), lambda: 0.0, Disk())
    outcomes = [spool.put(record(n), "NodeEntered", n) for n in range(20)]
    assert outcomes[-1] is Loss.NO_ROOM
    kept = read_all(spool)
    assert kept == [record(n).value for n in range(len(kept))]
    assert 0 < len(kept) <= 6


def test_two_processes_do_not_share_a_place_and_the_last_finds_what_the_dead_left(tmp_path: Path) -> None:
    first, second = (Handover(Frozen, SpoolFolder(tmp_path)) for _ in range(2))
    for n, log in enumerate((first, second)):
        log.append(*record(n))
        log.close(0.01)
    log = MemoryLog()
    third = Handover(lambda report: LogCourier(log, report), SpoolFolder(tmp_path))
    assert third.close() == 0
    assert Counter(value for _, value in log.records(Topic.CALLS)) == Counter([record(0).value, record(1).value])
    assert third.counts().found == {"NodeEntered": 2}
    assert not list(tmp_path.glob("*/facts-*")), "nothing is left to be found twice"


def test_the_age_of_words_is_kept_when_they_change_hands(tmp_path: Path) -> None:
    now = 0.0
    first, second = (SpoolFolder(tmp_path, wall=lambda: now) for _ in range(2))
    second.words.put(record(1, "WordsSaid", Topic.CONTENT), "WordsSaid", 0)
    for folder in (first, second):
        folder.close()
    now = WORDS_AGE_MAX_S - 1
    third = SpoolFolder(tmp_path, wall=lambda: now)
    assert third.words.records == 1
    now += 2
    third.words.expire()
    assert third.words.dropped == {("WordsSaid", Loss.AGED): 1}


def test_a_disk_that_does_not_grant_the_reserve_is_said_at_the_start(tmp_path: Path) -> None:
    class Full(Disk):
        def allocate(self, *_: int) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(SpoolUnusable, match="No space left on device"):
        SpoolFolder(tmp_path, disk=Full())
    SpoolFolder(tmp_path).close()


# ── the hand-over ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_reserve_lets_no_call_start_until_there_is_room(tmp_path: Path) -> None:
    reports = []

    class Held(Frozen):
        def __init__(self, report) -> None:
            super().__init__(report)
            reports.append(report)

    log = Handover(Held, SpoolFolder(tmp_path, facts=Room(bytes_max=0, slots=2, slot_bytes=400)))
    assert log.accepts_calls
    log._keeper._boxes[0].lost()  # the broker is away: everything goes through the disk
    n = 0
    while log.accepts_calls:
        log.append(*record(n, "DispositionSet"))
        log.flush(0.01)
        n += 1
    assert log.counts().dropped == {}
    for box in log._keeper._boxes:
        for number in list(box._held):
            reports[0](Delivered(0, number))
    assert log.flush() == 0
    assert log.accepts_calls
    log.close()


def test_a_full_hand_over_still_takes_what_is_protected() -> None:
    log = Handover(Frozen, queue_records_max=5)
    for n in range(10):
        log.append(*record(n))
    for n in range(PROTECTED_EXTRA_RECORDS + 3):
        log.append(*record(n, "ConsentRevoked"))
    log.flush(0.01)
    counts = log.counts()
    assert counts.dropped == {("NodeEntered", Loss.HAND_OVER): 5, ("ConsentRevoked", Loss.HAND_OVER): 3}
    assert not log.accepts_calls
    log.close(0.01)


def test_every_record_is_counted_by_type_and_exposed(tmp_path: Path) -> None:
    log = spooled(MemoryLog(), tmp_path)
    for n in range(4):
        log.append(*record(n))
    log.append(*record(5, "CallEnded"))
    registry = CollectorRegistry()
    expose(log, registry)
    value = registry.get_sample_value
    assert (value(Metric.EMIT_RESERVE), value(Metric.EMIT_ACCEPTS)) == (1, 1)
    assert log.close() == 0
    log.append(*record(6))
    assert value(f"{Metric.EMIT_TAKEN}_total", {"type": "NodeEntered"}) == 5
    assert value(f"{Metric.EMIT_DELIVERED}_total", {"type": "CallEnded"}) == 1
    assert value(f"{Metric.EMIT_DROPPED}_total", {"type": "NodeEntered", "reason": "closed"}) == 1
    assert value(Metric.EMIT_WAITING) == 0
    assert value(Metric.EMIT_ACCEPTS) == 0


def test_every_series_and_label_of_a_producer_is_of_the_closed_set() -> None:
    log = Handover(Frozen, queue_records_max=1)
    for n in range(2):
        log.append(*record(n))
    registry = CollectorRegistry()
    expose(log, registry)
    families = list(registry.collect())
    assert {family.name for family in families} == {m for m in Metric if m.startswith("turnlog_emit_")}
    labels = {name for family in families for sample in family.samples for name in sample.labels}
    assert labels == {Label.TYPE, Label.REASON}
    log.close(0.01)


def test_what_is_protected_is_a_closed_set_of_the_contract() -> None:
    assert {t.__name__ for t in PROTECTED_TYPES} == {
        "DispositionSet",
        "ComplaintFiled",
        "ConsentGranted",
        "ConsentRevoked",
        "ConsentHonoured",
        "LeadErased",
        "ContentRead",
    }
    assert set(PROTECTED_TYPES) < set(ALL_TYPES)
