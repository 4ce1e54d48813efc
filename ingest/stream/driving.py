"""Drives the effects of several partitions side by side, all of a kind at once. Performs none of them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from ingest.effects import ORDER, Effect, Effects

T = TypeVar("T")


class Driven(Generic[T]):
    """Effects of `one` partition that are under way. `effect` is the next one, None when there is none."""

    __slots__ = ("_effects", "effect", "one")

    def __init__(self, one: T, effects: Effects) -> None:
        self.one, self._effects = one, effects
        self.effect: Effect | None = None
        self.go_on(None)

    def go_on(self, answer: Any) -> None:
        """The answer to `effect` is there."""
        try:
            self.effect = self._effects.send(answer)
        except StopIteration:
            self.effect = None

    def give_up(self) -> None:
        """Whatever else it wants is not to be done."""
        self.effect = None


Perform = Callable[[type, Sequence[Driven[T]]], Awaitable[Sequence[Any]]]


async def drive(driven: Sequence[Driven[T]], perform: Perform[T]) -> None:
    """Until there are no effects left. `perform` gets those of one kind, answers each, and may give some up.

    What it raises is raised; those that still have an `effect` then stand before it.
    """
    while under_way := [each for each in driven if each.effect is not None]:
        kind = min((type(each.effect) for each in under_way), key=ORDER.index)
        these = [each for each in under_way if type(each.effect) is kind]
        for each, answer in zip(these, await perform(kind, these), strict=True):
            if each.effect is not None:
                each.go_on(answer)
