"""The limits of a partition, each reached: when it flushes, where an epoch ends, what it forgets and when."""

import pytest

from ingest import partition as core
from ingest.effects import Bury, Commit, Dead, FindLast, Item, Last, Lookup, Restore, Skipped, Write, WriteRollups
from ingest.partition import Limits, OffsetsBroken, Partition
from ingest.position import first_of, position_of
from runtime.events import Reason

NO_LIMIT = Limits(epoch_records=1_000, flush_records_max=1_000, flush_bytes_max=10**9, flush_after_s=1e9)


def item(offset, stream="call", source="runtime", seq=None, size=10, closes=False, arrived_ms=0, key="k"):
    seq = offset if seq is None else seq
    return Item(offset, "t", 0, stream, source, seq, arrived_ms, size, closes, ((("rollup", key), 1),), None)


def dead(offset, size=10):
    return Dead(offset, size, Reason.MALFORMED, "not JSON", b"{")


def done(effects, answers=None):
    """Every effect, in order; `answers` by its type, else an empty store's."""
    answers = {FindLast: None, Restore: [], Lookup: [], **(answers or {})}
    asked, answer = [], None
    while True:
        try:
            effect = effects.send(answer)
        except StopIteration:
            return asked
        asked.append(effect)
        answer = answers.get(type(effect))


def commits(effects):
    return [e.offset for e in effects if isinstance(e, Commit)]


def lookups(effects):
    return [(e.streams, e.before) for e in effects if isinstance(e, Lookup)]


def limited(**limits):
    return Limits(**{**{f: getattr(NO_LIMIT, f) for f in Limits.__slots__}, **limits})


def begun(limits=NO_LIMIT, at=0, **answers):
    partition = Partition("log", 0, 3, at, limits)
    done(partition.start(), answers)
    return partition


# ── when it flushes ──


def test_the_limits_are_those_of_the_named_constants():
    assert Limits() == Limits(
        core.EPOCH_RECORDS,
        core.FLUSH_RECORDS_MAX,
        core.FLUSH_BYTES_MAX,
        core.FLUSH_AFTER_S,
        core.STREAMS_MAX,
        core.IDLE_MS,
    )
    assert (core.EPOCH_RECORDS, core.FLUSH_RECORDS_MAX, core.FLUSH_BYTES_MAX) == (65_536, 20_000, 8 * 2**20)
    assert (core.FLUSH_AFTER_S, core.IDLE_MS, core.STREAMS_MAX) == (0.5, 3_600_000, 50_000)


@pytest.mark.parametrize("limit", [1, 3, core.FLUSH_RECORDS_MAX])
def test_a_flush_holds_no_more_records_than_its_limit(limit):
    partition = begun(limited(flush_records_max=limit, epoch_records=core.EPOCH_RECORDS))
    effects = done(partition.feed([item(n) for n in range(2 * limit + 1)], 0.0))
    assert commits(effects) == [limit, 2 * limit] + ([3] if limit == 1 else [])
    assert {len(e.items) for e in effects if isinstance(e, Write)} == {limit}


@pytest.mark.parametrize("limit", [24, core.FLUSH_BYTES_MAX])
def test_a_flush_ends_with_the_record_that_reaches_its_bytes(limit):
    partition = begun(limited(flush_bytes_max=limit))
    assert commits(done(partition.feed([item(n, size=limit // 2) for n in range(5)], 0.0))) == [2, 4]


def test_a_record_larger_than_the_limit_is_flushed_alone():
    partition = begun(limited(flush_bytes_max=25))
    assert commits(done(partition.feed([item(0, size=99), item(1, size=99), item(2)], 0.0))) == [1, 2]


def test_poison_fills_a_flush_as_well():
    partition = begun(limited(flush_records_max=2))
    effects = done(partition.feed([dead(0), dead(1), dead(2)], 0.0))
    assert commits(effects) == [2]
    assert [type(e) for e in effects] == [Bury, Commit]


def test_what_is_skipped_is_committed_and_leaves_nothing():
    partition = begun(limited(flush_records_max=3))
    assert done(partition.feed([Skipped(0, 10), Skipped(1, 10), Skipped(2, 10)], 0.0)) == [Commit(3)]
    write, _, commit = done(partition.feed([item(3), Skipped(4, 10), item(5)], 0.0))[1:]
    assert ([i.offset for i in write.items], commit) == ([3, 5], Commit(6))


def test_the_oldest_record_waits_no_longer_than_the_limit():
    partition = begun(limited(flush_after_s=core.FLUSH_AFTER_S))
    done(partition.feed([item(0)], 10.0))
    done(partition.feed([item(1)], 10.2))
    assert not partition.due(10.0 + core.FLUSH_AFTER_S - 0.001)
    assert partition.due(10.0 + core.FLUSH_AFTER_S)
    assert commits(done(partition.flush())) == [2]
    assert not partition.due(99.0)


def test_nothing_waiting_flushes_nothing():
    partition = begun()
    assert done(partition.flush()) == []
    assert done(partition.feed([], 0.0)) == []
    assert not partition.due(1e9)


def test_a_flush_writes_rows_then_letters_then_rollups_then_commits():
    partition = begun()
    done(partition.feed([item(0), dead(1), item(2, seq=0)], 0.0))
    write, bury, rollups, commit = done(partition.flush())
    assert [i.offset for i in write.items] == [0, 2]
    assert write.repeated == {2}
    assert write.firsts == (first_of(position_of(0, 0)), first_of(position_of(0, 2)))
    assert [d.offset for d in bury.letters] == [1]
    assert [(r.key, r.counts, r.version, r.partition, r.epoch) for r in rollups.rows] == [
        (("rollup", "k"), {1: 1}, 2, 3, 0)
    ]
    assert commit == Commit(3)
    assert partition.next_offset == 3


def test_what_the_store_refuses_is_buried_and_counted_nowhere():
    partition = begun()
    done(partition.feed([item(0), item(1), item(2, key="other")], 0.0))
    refused = {1: dead(1), 2: dead(2)}
    _, bury, rollups, _ = done(partition.flush(), {Write: refused})
    assert [d.offset for d in bury.letters] == [1, 2]
    assert {r.key[1]: r.counts for r in rollups.rows} == {"k": {1: 1}, "other": {}}


def test_the_repeat_of_a_delivery_that_was_refused_is_counted_in_its_place():
    partition = begun()
    done(partition.feed([item(0), item(1, seq=0), item(2, seq=0)], 0.0))
    effects = done(partition.flush(), {Write: {0: dead(0)}})
    assert [r.counts for e in effects if isinstance(e, WriteRollups) for r in e.rows] == [{1: 1}]


def test_only_changed_rollups_are_written_and_each_is_whole():
    partition = begun()
    done(partition.feed([item(0, key="a"), item(1, key="b")], 0.0))
    done(partition.flush())
    done(partition.feed([item(2, key="a")], 0.0))
    rollups = next(e for e in done(partition.flush()) if isinstance(e, WriteRollups))
    assert [(r.key[1], r.counts, r.version) for r in rollups.rows] == [("a", {1: 2}, 2)]


# ── where an epoch ends ──


def test_no_flush_crosses_an_edge_of_an_epoch():
    partition = begun(limited(epoch_records=10))
    effects = done(partition.feed([item(n) for n in range(25)], 0.0))
    assert commits(effects) == [10, 20]
    rollups = [r for e in effects if isinstance(e, WriteRollups) for r in e.rows]
    assert [(r.epoch, r.version, r.counts) for r in rollups] == [(0, 9, {1: 10}), (1, 19, {1: 10})]


def test_an_edge_that_falls_into_a_gap_of_offsets_is_one_too():
    partition = begun(limited(epoch_records=10))
    effects = done(partition.feed([item(0), item(1), item(31), item(32)], 0.0))
    assert commits(effects) == [2]
    assert next(r.epoch for e in done(partition.flush()) if isinstance(e, WriteRollups) for r in e.rows) == 3


def test_offsets_may_be_missing():
    partition = begun()
    done(partition.feed([item(0), item(4)], 0.0))
    done(partition.feed([item(9)], 0.0))
    assert commits(done(partition.flush())) == [10]


@pytest.mark.parametrize("first", [4, 0])
def test_a_batch_that_goes_back_is_refused_whole(first):
    partition = begun()
    done(partition.feed([item(n) for n in range(5)], 0.0))
    with pytest.raises(OffsetsBroken, match=f"offset {first} where 5 was due"):
        done(partition.feed([item(first)], 0.0))
    assert commits(done(partition.flush())) == [5]  # what was held before is whole


def test_taking_up_folds_the_open_epoch_again_and_goes_on_in_it():
    stored = [item(n) for n in range(10, 14)]
    partition = Partition("log", 0, 3, 14, limited(epoch_records=10))
    effects = done(partition.start(), {FindLast: Last("log", 13), Restore: stored})
    assert effects[:2] == [FindLast(14), Restore(10, 14)]
    assert [(r.version, r.counts) for r in effects[-1].rows] == [(13, {1: 4})]
    done(partition.feed([item(14), item(15, seq=12)], 0.0))
    write, rollups, _ = done(partition.flush())
    assert write.repeated == {15}
    assert [(r.version, r.counts) for r in rollups.rows] == [(15, {1: 5})]


def test_taking_up_at_an_edge_mends_the_epoch_before_and_begins_an_empty_one():
    partition = Partition("log", 0, 3, 20, limited(epoch_records=10))
    effects = done(partition.start(), {FindLast: Last("log", 19), Restore: [item(19)]})
    assert effects[1] == Restore(10, 20)
    assert [(r.epoch, r.version) for r in effects[-1].rows] == [(1, 19)]
    done(partition.feed([item(20)], 0.0))
    assert [r.counts for e in done(partition.flush()) if isinstance(e, WriteRollups) for r in e.rows] == [{1: 1}]


def test_a_replaced_log_mends_the_last_epoch_of_the_one_before_under_its_own_name():
    before = Last("old-log", position_of(0, 17))
    partition = Partition("new-log", 1, 3, 0, limited(epoch_records=10))
    effects = done(partition.start(), {FindLast: before, Restore: [item(17)]})
    assert effects[0] == FindLast(position_of(1, 0))
    assert effects[1] == Restore(position_of(0, 10), position_of(0, 18))
    assert [(r.log, r.epoch, r.version) for r in effects[-1].rows] == [("old-log", 1, 17)]


# ── what it remembers ──


def test_a_stream_is_looked_up_once_as_of_the_start_of_the_epoch():
    partition = begun(limited(epoch_records=10), at=13)
    assert lookups(done(partition.feed([item(13), item(14), item(15, stream="b")], 0.0))) == [
        (frozenset({("t", 0, "call"), ("t", 0, "b")}), 10)
    ]
    assert lookups(done(partition.feed([item(16)], 0.0))) == []


def test_what_the_store_knows_of_a_stream_is_a_repeat():
    partition = begun()
    known = [("t", 0, "call", "runtime", 7)]
    done(partition.feed([item(0, seq=7), item(1, seq=8)], 0.0), {Lookup: known})
    assert next(e.repeated for e in done(partition.flush()) if isinstance(e, Write)) == {0}


def test_a_closed_stream_is_forgotten_at_an_edge_and_not_before():
    partition = begun(limited(epoch_records=4))
    done(partition.feed([item(0, seq=0), item(1, seq=1, closes=True), item(2, stream="open")], 0.0))
    assert partition.streams == 2
    done(partition.feed([item(3, stream="open", seq=3), item(4, stream="open", seq=4)], 0.0))
    assert partition.streams == 1


def test_a_stream_that_closed_with_a_gap_is_kept():
    partition = begun(limited(epoch_records=4))
    done(partition.feed([item(0, seq=0), item(1, seq=2, closes=True), item(2, stream="b"), item(3, stream="b")], 0.0))
    done(partition.feed([item(4, stream="b")], 0.0))
    assert partition.streams == 2


@pytest.mark.parametrize(("silent_ms", "kept"), [(core.IDLE_MS, 2), (core.IDLE_MS + 1, 1)])
def test_a_stream_is_idle_after_an_hour(silent_ms, kept):
    partition = begun(limited(epoch_records=2))
    done(partition.feed([item(0, arrived_ms=0), item(1, stream="b", arrived_ms=silent_ms)], 0.0))
    done(partition.feed([item(2, stream="b", arrived_ms=silent_ms)], 0.0))
    assert partition.streams == kept


def test_no_more_streams_are_kept_over_an_edge_than_the_limit_and_the_last_to_arrive_are():
    partition = begun(limited(epoch_records=10, streams_max=3))
    done(partition.feed([item(n, stream=f"call-{n}", arrived_ms=n) for n in range(10)], 0.0))
    assert partition.streams == 10
    asked = lookups(done(partition.feed([item(10 + n, stream=f"call-{6 + n}") for n in range(4)], 0.0)))
    assert asked == [(frozenset({("t", 0, "call-6")}), 10)]
