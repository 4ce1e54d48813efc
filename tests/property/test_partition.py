"""Random histories of one partition, and mutants of its rules that those histories must catch."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import pytest

from ingest.effects import Commit, Dead, Effects, Item, Restore, RollupRow
from ingest.partition import Partition
from ingest.seen import Seen
from tests.property.world import Weather, World

HISTORIES = 2_000
CLIMATES = {
    "crashes and zombies": Weather(),
    "adjacent repeats": Weather(repeat=0.1),
    "late repeats": Weather(late=0.05),
    "late repeats, no crash": Weather(late=0.05, crash=0),
    "reorder, no crash": Weather(reorder=0.05, crash=0),
    "retention cuts the open epoch": Weather(retention=True, late=0.03),
    "poison and refusals": Weather(poison=0.03, refuse=0.04, repeat=0.1, late=0.03),
    "markers in the log": Weather(markers=0.05, late=0.03),
    "a wiped broker": Weather(wipes=2, late=0.05),
    "everything": Weather(
        repeat=0.1, late=0.05, reorder=0.05, poison=0.01, refuse=0.02, markers=0.02, retention=True, wipes=1
    ),
}


def wrong(climate: str, seed: int, partition: type[Partition] = Partition, logs_have_ids: bool = True) -> list[str]:
    world = World(seed, CLIMATES[climate], partition, logs_have_ids)
    world.run()
    return world.faults()


@pytest.mark.parametrize("climate", CLIMATES)
def test_every_event_is_stored_and_counted_once(climate: str) -> None:
    for seed in range(HISTORIES // len(CLIMATES) + 1):
        assert wrong(climate, seed) == [], f"history {seed} of {climate!r}"


class LastDeliveryWins(Partition):
    @staticmethod
    def first_of(position: int) -> int:
        return position


class _Maximum(Seen):
    def add(self, seq: int) -> bool:
        if seq < self.mark:
            return False
        self.mark = seq + 1
        return True


class MaximumInsteadOfSet(Partition):
    def _new_seen(self) -> Seen:
        return _Maximum()


class NoRestore(Partition):
    def start(self) -> Effects:
        return
        yield


class VersionDoesNotSupersede(Partition):
    def _rows(self, *args: Any) -> tuple[RollupRow, ...]:
        return super()._rows(*args[:-1], 0)


class UnboundedLookup(Partition):
    def _lookup_bound(self) -> int:
        return 2**63


class EvictionWithoutLookup(Partition):
    def _meet(self, items: Sequence[Item]) -> Effects:
        effects = super()._meet(items)
        for _ in effects:
            try:
                effects.send(())
            except StopIteration:
                return
        yield from ()


class FlushAcrossAnEdge(Partition):
    def _runs(self, records: Sequence[Item | Dead]) -> Any:
        if records:
            yield records


class CommitBeforeWrite(Partition):
    def flush(self) -> Effects:
        if self._records:
            yield Commit(self._next)
        yield from super().flush()


class OnlyTheOpenEpochIsRestored(Partition):
    def start(self) -> Effects:
        effects = super().start()
        answer = None
        while True:
            try:
                effect = effects.send(answer)
            except StopIteration:
                return
            if isinstance(effect, Restore) and effect.start != self._epoch_start():
                return
            answer = yield effect


class RefusedIsCounted(Partition):
    def _revised(self, *_: Any) -> list[Item]:
        return []


class RefusedStaysSeen(Partition):
    def _revised(self, lost: Sequence[Item], *_: Any) -> list[Item]:
        for item in lost:
            if item.offset not in self._repeated:
                for key, bucket in item.measures:
                    self._fold[key][bucket] -= 1
        return []


class LookupKnowsOnlyThisEpoch(Partition):
    def _turn(self, epoch: int) -> None:
        super()._turn(epoch)
        self._streams.clear()

    def _lookup_bound(self) -> int:
        return 0


MUTANTS = [
    LastDeliveryWins,
    MaximumInsteadOfSet,
    NoRestore,
    VersionDoesNotSupersede,
    UnboundedLookup,
    EvictionWithoutLookup,
    FlushAcrossAnEdge,
    CommitBeforeWrite,
    OnlyTheOpenEpochIsRestored,
    RefusedIsCounted,
    RefusedStaysSeen,
    LookupKnowsOnlyThisEpoch,
]


CATCHES = 5


def caught(climates: Iterable[str], **how: Any) -> int:
    """Histories found wrong among the first 40 of each climate; stops counting at CATCHES."""
    histories = ((climate, seed) for seed in range(40) for climate in climates)
    return len(list(islice((h for h in histories if wrong(*h, **how)), CATCHES)))


@pytest.mark.parametrize("mutant", MUTANTS)
def test_histories_catch_the_mutant(mutant: type[Partition]) -> None:
    assert caught(CLIMATES, partition=mutant) == CATCHES


def test_histories_catch_a_log_without_an_id() -> None:
    wiped = [climate for climate, weather in CLIMATES.items() if weather.wipes]
    for climate in wiped:
        assert caught([climate], logs_have_ids=False) == CATCHES
    assert caught([c for c in CLIMATES if c not in wiped], logs_have_ids=False) == 0, "only a wipe needs the id"
