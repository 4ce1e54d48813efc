"""What is judged a fault, a warning or worth a note, and what a check that hangs costs the others."""

import io
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.doctor.facts import Broker, Disk, Facts, Incomplete, Letters, Part, Partition, Stack, Store
from deploy.doctor.gather import gather, make_all
from deploy.doctor.judge import (
    EMBEDDED,
    FREE_BYTES_FEW,
    LAG_RECORDS_MAX,
    LETTERS_US,
    NAMED_MAX,
    QUIET_US,
    REQUIRED,
    Finding,
    judge,
)
from deploy.doctor.show import show
from deploy.doctor.store import RANGES_MAX, missing_ranges
from deploy.embedded.plan import FREE_BYTES_MIN
from deploy.settings import Settings, without_password

NOW = 1_700_000_000_000_000
VERSIONS = dict.fromkeys((*REQUIRED, *EMBEDDED), "1.0")
_PART = {"address": "127.0.0.1:1", "version": "1", "pid": 7, "state": "running", "alive": True, "answers": True}
_PART |= {"restarts": 0, "since": NOW, "ending": "", "log": "/state/logs/x.log"}


def part(name: str, **changed: Any) -> Part:
    return Part(**{"name": name, **_PART, **changed})


def stack(*parts: Part, shared: bool = False) -> Stack:
    return Stack(pid=1, started_at=NOW, shared=shared, parts=parts or tuple(map(part, ("broker", "store", "worker"))))


def broker(lag: int = 0, members: int | None = None, missing: tuple[str, ...] = (), **letters: Any) -> Broker:
    held = Letters(**{"count": 0, "read": 0, "by_reason": {}, "newest_at": None, **letters})
    read = Partition(partition=0, end=100_000, committed=100_000 - lag, lag=lag)
    return Broker(address="b:1", missing_topics=missing, partitions=(read,), members=members, letters=held)


def store(*incomplete: Incomplete, **changed: Any) -> Store:
    usual: dict[str, Any] = {"address": "http://s:1", "version": "26", "migrations": 4, "expected": 4, "pending": ()}
    usual |= {"unfit": "", "youngest_at": NOW, "youngest_by_partition": {0: NOW}, "calls": 9, "sources": 9}
    usual |= {"incomplete_count": len(incomplete), "incomplete": incomplete}
    return Store(**{**usual, **changed})


def source(said: int | None, last_at: int = NOW, name: str = "c") -> Incomplete:
    return Incomplete(call_id=name, source="runtime", stored=5, said=said, last_at=last_at)


def facts(**changed: Any) -> Facts:
    well: dict[str, Any] = {"at": NOW, "state": "/state", "stack": stack(), "versions": VERSIONS}
    well |= {"disk": Disk(FREE_BYTES_FEW, 2 * FREE_BYTES_FEW), "broker": broker(), "store": store()}
    return Facts(**{**well, **changed})


def only(found: tuple[Finding, ...], level: str, where: str, *words: str) -> None:
    assert [(f.level, f.where) for f in found] == [(level, where)], found
    assert all(word in f"{found[0].what} {found[0].do}" for word in words), found
    assert found[0].do


def test_what_is_well_has_no_finding() -> None:
    assert judge(facts()) == ()


def test_no_stack_is_a_note_and_no_fault() -> None:
    only(judge(facts(stack=None, broker=None, store=None)), "note", "stack", "/state", "turnlog up")


def test_servers_of_ones_own_need_no_stack() -> None:
    lacking = dict.fromkeys(REQUIRED, "1.0")
    assert judge(facts(stack=None, own_kafka=True, own_clickhouse=True, versions=lacking)) == ()


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        ({"state": "waiting", "pid": None, "alive": False, "ending": "was killed by signal 9"}, "fault", ["signal 9"]),
        ({"alive": False, "answers": False}, "fault", ["process 7 is gone", "/state/logs/x.log", "turnlog up"]),
        ({"state": "starting", "answers": False}, "warning", ["starting"]),
        ({"answers": False}, "fault", ["does not answer", "127.0.0.1:1"]),
        ({"restarts": 2, "ending": "ended with code 1"}, "warning", ["2 times", "code 1"]),
    ],
)
def test_a_part_that_is_not_well_is_named(changed: dict[str, Any], level: str, words: list[str]) -> None:
    only(judge(facts(stack=stack(part("store", **changed)))), level, "store", *words)


def test_a_part_under_a_supervisor_is_left_to_it() -> None:
    gone = part("worker", alive=False, answers=False)
    only(judge(facts(stack=stack(gone, shared=True))), "fault", "worker", "its supervisor starts it again")


def test_a_stack_that_starts_is_not_taken_for_what_a_killed_one_left() -> None:
    only(judge(facts(stack=None, unready=7, broker=None, store=None)), "fault", "stack", "process 7", "in a moment")


def test_a_state_folder_that_is_none_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Not a directory" in gather(Settings(tmp_path / "file"), NOW).failed["disk"]


def test_a_killed_stack_has_left_something_behind() -> None:
    only(judge(facts(stack=None, left_behind=77)), "fault", "stack", "77", "turnlog up")
    only(judge(facts(stack=None, left_behind=77, orphans=True)), "fault", "stack", "still run", "turnlog down")


def test_a_check_that_failed_is_a_fault_with_its_reason() -> None:
    found = judge(facts(broker=None, own_kafka=True, failed={"broker": "no broker answers"}))
    only(found, "fault", "broker", "no broker answers", "KAFKA_BOOTSTRAP_SERVERS")


@pytest.mark.parametrize("name", [*REQUIRED, *EMBEDDED])
def test_what_is_not_installed_is_named(name: str) -> None:
    only(judge(facts(versions={**VERSIONS, name: ""})), "fault", "installation", name, "install")


def test_a_disk_that_fills_up_is_told_before_it_is_full() -> None:
    only(judge(facts(disk=Disk(FREE_BYTES_FEW - 1, 1))), "warning", "disk", "TURNLOG_STATE")
    only(judge(facts(disk=Disk(FREE_BYTES_MIN - 1, 1))), "fault", "disk", "does not start")


def test_lag_is_a_fault_when_nobody_reads_or_when_it_grows_too_long() -> None:
    assert judge(facts(broker=broker(lag=LAG_RECORDS_MAX))) == ()
    only(judge(facts(broker=broker(lag=LAG_RECORDS_MAX + 1))), "fault", "lag", "20,001", "more workers")
    only(judge(facts(broker=broker(lag=1, members=0))), "fault", "lag", "1 records", "turnlog worker")
    assert judge(facts(broker=broker(lag=1, members=2), own_kafka=True)) == ()


def test_a_dead_worker_and_its_lag_are_two_findings() -> None:
    parts = (part("broker"), part("store"), part("worker", alive=False, answers=False))
    found = judge(facts(stack=stack(*parts), broker=broker(lag=3)))
    assert [(f.level, f.where) for f in found] == [("fault", "worker"), ("fault", "lag")]


def test_a_missing_topic_is_named() -> None:
    only(judge(facts(broker=broker(missing=("turnlog.calls.v1",)))), "fault", "broker", "turnlog.calls.v1")


def test_dead_letters_are_counted_by_reason_and_forgiven_after_a_day() -> None:
    letters = {"count": 12, "read": 5, "by_reason": {"malformed": 2, "clock": 3}}
    found = judge(facts(broker=broker(**letters, newest_at=NOW - LETTERS_US)))
    only(found, "fault", "dead letters", "12 records", "of the newest 5: 3 clock, 2 malformed", "turnlog.dlq.v1")
    only(judge(facts(broker=broker(**letters, newest_at=NOW - LETTERS_US - 1))), "note", "dead letters", "none in the")


def test_missing_events_are_a_fault_and_named() -> None:
    found = judge(facts(store=store(source(9, name="call-a"))))
    only(found, "fault", "completeness", "1 source", "call-a runtime 5 of 9")
    on_its_way = judge(facts(store=store(source(9)), broker=broker(lag=1)))
    only(on_its_way, "fault", "completeness", "wait until the lag is gone")


def test_a_call_that_runs_is_no_fault_until_it_has_been_silent_too_long() -> None:
    only(judge(facts(store=store(source(None, NOW - QUIET_US)))), "note", "completeness", "still open")
    only(judge(facts(store=store(source(None, NOW - QUIET_US - 1)))), "fault", "completeness", "did not close")


def test_a_bounded_number_of_calls_is_named() -> None:
    many = [source(9, name=f"call-{n}.") for n in range(NAMED_MAX + 1)]
    (found,) = judge(facts(store=store(*many, incomplete_count=400)))
    assert "at least 11 sources" in found.what
    assert f"call-{NAMED_MAX - 1}." in found.what
    assert f"call-{NAMED_MAX}." not in found.what


def test_a_schema_of_another_version_is_a_fault() -> None:
    only(judge(facts(store=store(pending=("0005_x",)))), "fault", "store", "0005_x", "worker")
    only(judge(facts(store=store(unfit="the store has migration '9'"))), "fault", "store", "migration '9'")


def test_faults_come_first() -> None:
    found = judge(facts(stack=stack(part("store", restarts=1)), disk=Disk(1, 1), store=store(source(None))))
    assert [f.level for f in found] == ["fault", "warning", "note"]


def test_a_check_that_hangs_or_breaks_hides_no_other() -> None:
    forever = threading.Event()

    def broken() -> None:
        raise KeyError("something that was said")

    patience_s = {"broker": 0.05, "store": 5.0, "disk": 5.0}
    found, failed = make_all({"broker": forever.wait, "store": broken, "disk": lambda: 7}, patience_s)
    forever.set()
    assert found == {"disk": 7}
    assert failed == {"broker": "no answer in 0.05 s", "store": "the check itself failed (KeyError)"}


def test_without_a_stack_the_installation_and_the_disk_are_examined(tmp_path: Path) -> None:
    found = gather(Settings(tmp_path / "not" / "there"), NOW)
    assert found.stack is None
    assert found.broker is found.store is None
    assert found.failed == {}
    assert found.disk is not None
    assert found.disk.total_bytes > 0
    assert found.versions["turnlog"]


def test_no_password_is_shown() -> None:
    assert without_password("http://user:sekret@host:8123/db") == "http://host:8123"


def test_what_producers_wrote_moves_no_cursor() -> None:
    hostile = "call\x1b[2J"
    found = facts(
        broker=broker(count=1, read=1, by_reason={hostile: 1}, newest_at=NOW), store=store(source(9, name=hostile))
    )
    drawn = io.StringIO()
    show(found, judge(found), Console(file=drawn, width=200))
    assert drawn.getvalue().count("\\x1b[2J") >= 2
    assert "\x1b" not in drawn.getvalue()


@pytest.mark.parametrize(
    ("seqs", "said", "ranges"),
    [
        ([0, 1, 2], 3, ()),
        ([], 3, ((0, 2),)),
        ([2, 0], 5, ((1, 1), (3, 4))),
        ([1, 9], 2, ((0, 0),)),  # said after it had closed
        (range(1, 99, 2), 99, tuple((n, n) for n in range(0, 2 * RANGES_MAX, 2))),
    ],
)
def test_missing_numbers_are_told_as_ranges(seqs: Any, said: int, ranges: tuple[tuple[int, int], ...]) -> None:
    assert missing_ranges(seqs, said) == ranges


def test_a_gap_is_told_by_its_numbers_and_a_lost_call_by_its_id() -> None:
    gap = Incomplete(call_id="c", source="runtime", stored=5, said=9, last_at=NOW, missing=((2, 4), (7, 7)))
    only(judge(facts(store=store(gap))), "fault", "completeness", "c runtime 5 of 9: no 2 to 4, 7")
    only(judge(facts(store=store(lost_count=1, lost=("gone",)))), "fault", "completeness", "1 call was lost", "gone")
    many = tuple(f"gone-{n}" for n in range(2 * NAMED_MAX))
    (found,) = judge(facts(store=store(lost_count=70, lost=many)))
    assert found.what.count("gone-") == NAMED_MAX
    assert "70 calls were" in found.what
    assert ", …" in found.what
