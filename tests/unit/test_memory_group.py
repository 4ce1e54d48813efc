"""A group in memory keeps the rules of Kafka's groups that a worker leans on."""

import pytest

from ingest.stream.intake import Spot
from ingest.stream.memory_group import Fenced, MemoryGroup
from runtime.emit import MemoryLog
from runtime.events import Topic


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def group(clock: Clock) -> MemoryGroup:
    return MemoryGroup(MemoryLog(partitions=4), (Topic.CALLS,), session_s=6.0, now=clock)


def spots(group: MemoryGroup, member: int) -> set[int]:
    shared = group.share(member)
    assert shared is not None
    return {spot.partition for spot in shared[1]}


def generation(group: MemoryGroup, member: int) -> int:
    shared = group.share(member)
    assert shared is not None
    return shared[0]


def test_the_first_member_has_everything(group: MemoryGroup) -> None:
    assert spots(group, group.join()) == {0, 1, 2, 3}


def test_nobody_gets_a_partition_before_its_owner_has_given_it_up(group: MemoryGroup) -> None:
    first = group.join()
    second = group.join()
    assert group.share(first) is None
    assert group.share(second) is None
    assert group.beat(first)
    assert not group.beat(second)
    group.ready(first)
    assert spots(group, first) | spots(group, second) == {0, 1, 2, 3}
    assert not spots(group, first) & spots(group, second)
    assert not group.beat(first)


def test_a_silent_member_is_out_and_its_partitions_are_given_away(group: MemoryGroup, clock: Clock) -> None:
    silent, lively = group.join(), group.join()
    group.ready(silent)
    clock.s = 5.0
    group.beat(lively)
    clock.s = 7.0
    assert group.beat(lively)
    group.ready(lively)
    assert spots(group, lively) == {0, 1, 2, 3}
    with pytest.raises(Fenced, match=f"member {silent}"):
        group.beat(silent)


def test_who_leaves_gives_its_partitions_to_the_others(group: MemoryGroup) -> None:
    first, second = group.join(), group.join()
    group.ready(first)
    group.leave(second)
    assert group.beat(first)
    group.ready(first)
    assert spots(group, first) == {0, 1, 2, 3}


def test_a_commit_counts_while_the_member_still_holds_the_partition(group: MemoryGroup) -> None:
    first = group.join()
    was = generation(group, first)
    group.join()  # the first is asked to give up, and may commit what it has flushed
    group.commit(first, was, Spot(Topic.CALLS, 2), 17)
    assert group.committed(Spot(Topic.CALLS, 2)) == 17


def test_a_commit_of_a_past_generation_or_of_another_s_partition_is_refused(group: MemoryGroup) -> None:
    first, second = group.join(), None
    was = generation(group, first)
    second = group.join()
    group.ready(first)
    (theirs, *_) = spots(group, second)
    for past, partition in ((was, 0), (generation(group, first), theirs)):
        with pytest.raises(Fenced):
            group.commit(first, past, Spot(Topic.CALLS, partition), 1)
    assert group.commits(Topic.CALLS) == {}


def test_a_wiped_log_has_another_id_no_members_and_no_commits(group: MemoryGroup) -> None:
    member = group.join()
    was = group.log.log_id(Topic.CALLS)
    group.log.append(Topic.CALLS, "call-1", b"fact")
    group.commit(member, generation(group, member), Spot(Topic.CALLS, 0), 1)
    group.log.wipe()
    group.forget()
    assert group.log.log_id(Topic.CALLS) != was
    assert group.log.records(Topic.CALLS) == []
    assert group.committed(Spot(Topic.CALLS, 0)) is None
    with pytest.raises(Fenced):
        group.beat(member)


def test_a_key_s_records_lie_in_one_partition_in_order() -> None:
    log = MemoryLog(partitions=3)
    for n in range(60):
        log.append(Topic.CALLS, f"call-{n % 5}", b"%d" % n)
    lying = [kept for p in range(3) for kept in log.fetch(Topic.CALLS, p, 0, 100)]
    assert len(lying) == 60
    for key in {k.key for k in lying}:
        of_key = [k for k in lying if k.key == key]
        assert len({k.partition for k in of_key}) == 1
        assert [int(k.value) for k in of_key] == sorted(int(k.value) for k in of_key)
    assert [k.offset for k in log.fetch(Topic.CALLS, 0, 0, 100)] == list(range(log.end(Topic.CALLS, 0)))
