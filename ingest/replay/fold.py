"""Folds one partition through the same core as a worker does. Commits and buries nothing: that is the worker's."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ingest.effects import Bury, Commit, Effects
from ingest.erased import Erasures
from ingest.partition import Limits, Partition
from ingest.projection import Record, project
from ingest.replay.sources import Stretch
from ingest.store.performer import Place
from runtime.events import Topic


class Performer(Protocol):
    def perform(self, place: Place, effect: Any) -> Any: ...


class Fold:
    """A stretch as far as it is folded. `tables` may be others for what comes after the bound."""

    def __init__(self, stretch: Stretch, erasures: Erasures, limits: Limits | None) -> None:
        place = stretch.place
        self.stretch, self._erasures = stretch, erasures
        self._core = Partition(place.log, place.generation, place.partition, stretch.start, limits)
        self._started = False
        self.records = self.dead = 0

    @property
    def next_offset(self) -> int:
        return max(self._core.next_offset, self.stretch.stop)

    def take(
        self, tables: Performer, batches: Iterable[list[Record]], judged: bool, told: Callable[[int], None]
    ) -> None:
        """All of the batches, flushed at the end. Stored rows are not `judged` by their clocks again."""
        topic = Topic(self.stretch.place.topic)
        if not self._started:
            self._started = True
            self._drive(tables, self._core.start())
        for records in batches:
            batch = self._erasures.applied(topic, project(records, topic, judged))
            self._drive(tables, self._core.feed(batch, time.monotonic()))
            self.records += len(records)
            told(len(records))
        self._drive(tables, self._core.flush())

    def _drive(self, tables: Performer, effects: Effects) -> None:
        answer: Any = None
        while True:
            try:
                effect = effects.send(answer)
            except StopIteration:
                return
            match effect:
                case Commit():
                    answer = None
                case Bury(letters):
                    self.dead += len(letters)
                    answer = None
                case _:
                    answer = tables.perform(self.stretch.place, effect)
