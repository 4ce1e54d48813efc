"""Poison passes; a bad deploy stops the worker before anything of it is buried or committed."""

import pytest

from ingest.effects import Dead, Item, Skipped
from ingest.stream import invalid as module
from ingest.stream.invalid import SPARED, InvalidGate, InvalidLimits, TooManyInvalid
from runtime.events import Reason

SMALL = InvalidLimits(run_max=3, window_records=100, ratio_max=0.1)


def good(count=1):
    return [Item(0, "t", 0, "s", "r", 0, 0, 1, False, (), None)] * count


def bad(count=1, reason=Reason.INVALID):
    return [Dead(0, 1, reason, "NodeEntered: see $.turn", b"secret")] * count


def test_the_limits_are_those_of_the_named_constants():
    limits = InvalidLimits()
    assert limits == InvalidLimits(module.RUN_MAX, module.WINDOW_RECORDS, module.RATIO_MAX)
    assert (limits.run_max, limits.window_records, limits.window_max) == (200, 5_000, 500)


def test_a_run_of_as_many_as_the_limit_passes_and_one_more_stops():
    gate = InvalidGate(SMALL)
    gate.read("calls", 0, bad(3))
    with pytest.raises(TooManyInvalid, match="4 records in a row of calls/0"):
        gate.read("calls", 0, bad())


def test_a_record_that_can_be_read_ends_a_run_and_so_does_another_partition():
    gate = InvalidGate(SMALL)
    gate.read("calls", 0, bad(3))
    gate.read("calls", 1, bad(3))
    gate.read("calls", 0, good())
    gate.read("calls", 0, bad(3))


def test_what_is_skipped_can_be_read():
    gate = InvalidGate(SMALL)
    gate.read("calls", 0, [*bad(3), Skipped(0, 1), *bad(3)])


def test_a_partition_that_is_taken_up_again_counts_its_run_anew():
    gate = InvalidGate(SMALL)
    gate.read("calls", 0, bad(3))
    gate.begin("calls", 0)
    gate.read("calls", 0, bad(3))


@pytest.mark.parametrize("every", [10, 100])
def test_poison_up_to_the_ratio_passes_for_ever(every):
    gate = InvalidGate(SMALL)
    for _ in range(1_000):
        gate.read("calls", 0, [*good(every - 1), *bad()])


def test_one_in_a_hundred_passes_in_batches_of_any_size():
    gate = InvalidGate(InvalidLimits())
    for size in (1, 7, 100, 20_000):
        gate.read("calls", 0, ([*good(99), *bad()] * 300)[: size * 100])


def test_one_in_nine_stops():
    gate = InvalidGate(SMALL)
    with pytest.raises(TooManyInvalid, match="11 of the last 100 records of calls"):
        gate.read("calls", 0, [*good(8), *bad()] * 20)


def test_topics_are_judged_apart():
    gate = InvalidGate(SMALL)
    for topic in ("calls", "content", "outcomes"):
        gate.read(topic, 0, [*good(8), *bad()] * 10)


def test_what_left_the_window_counts_no_more():
    gate = InvalidGate(SMALL)
    for _ in range(50):
        gate.read("calls", 0, [*bad(3), *good(), *bad(3), *good(), *bad(3), *good(), *bad()])  # ten: as many as may be
        gate.read("calls", 0, good(100))


@pytest.mark.parametrize("reason", sorted(SPARED))
def test_a_clock_gone_wrong_and_a_conflict_stop_nobody(reason):
    gate = InvalidGate(SMALL)
    gate.read("calls", 0, bad(5_000, reason))


@pytest.mark.parametrize("reason", sorted(set(Reason) - SPARED))
def test_every_other_reason_stops(reason):
    with pytest.raises(TooManyInvalid, match=reason.value):
        InvalidGate(SMALL).read("calls", 0, bad(4, reason))


def test_what_the_store_refuses_counts_as_well_and_is_judged_by_its_share_of_a_large_flush():
    gate = InvalidGate(SMALL)
    gate.stored("calls", 10_000, bad(1_000))  # a tenth
    with pytest.raises(TooManyInvalid):
        gate.stored("calls", 10_000, bad(1_200))


def test_a_flush_that_the_store_takes_whole_is_not_counted_against_anybody():
    gate = InvalidGate(SMALL)
    gate.stored("calls", 0, ())
    gate.stored("calls", 10_000, ())


def test_whoever_knows_what_is_there_may_bury_it_all():
    gate = InvalidGate(None)
    gate.read("calls", 0, bad(50_000))
    gate.stored("calls", 10, bad(10))


def test_the_error_says_what_and_where_and_what_to_do_and_no_word_of_the_record():
    with pytest.raises(TooManyInvalid) as raised:
        InvalidGate(SMALL).read("calls", 7, bad(9))
    said = str(raised.value)
    assert all(
        part in said for part in ("calls/7", "invalid: NodeEntered: see $.turn", "--accept-invalid", "committed")
    )
    assert "secret" not in said
