"""Holds the spans of traces until a call is over or silent, and says which are due. Pure: the clock is an argument.

A call that was told stays for a while, so that late spans find it. What was forgotten is remembered by its id, so that
a span that comes even later, or once more, begins no second call.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from ingest.door.call import Progress, is_call
from ingest.door.limits import (
    CLOSED_REMEMBERED_MAX,
    CLOSED_REMEMBERED_S,
    HELD_BYTES_MAX,
    IDLE_S,
    LINGER_S,
    SETTLE_S,
    SPANS_PER_TRACE_MAX,
    TRACES_HELD_MAX,
)
from ingest.door.span import Dialect, ForeignSpan


class Fate(StrEnum):
    """What became of a span that was offered."""

    TAKEN = "taken"
    REPEATED = "repeated"  # the same span of the same trace is here
    LATE = "late"  # its call was told and forgotten
    TOO_MANY = "too_many"  # its trace is full


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that calls are waited for; see limits.py."""

    settle_s: float = SETTLE_S
    idle_s: float = IDLE_S
    linger_s: float = LINGER_S


@dataclass(slots=True)
class Held:
    """One trace."""

    spans: dict[str, ForeignSpan] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    last_s: float = 0.0
    tellings: list[int] = field(default_factory=list)  # each time that it was told: of how many spans
    weight: int = 0
    voice: bool = False  # a framework's spans are among them
    ended: bool = False  # the span around the call has come
    rooted: bool = False

    @property
    def fresh(self) -> bool:
        """Something came since it was told."""
        return self.tellings[-1:] != [len(self.spans)]

    @property
    def over(self) -> bool:
        """The span that ends last has come: that of the call, or the root of anything else. A call that was told is
        over, or was taken for it.
        """
        return bool(self.progress.call) or (self.ended if self.voice else self.rooted)


class Traces:
    """The traces that are held, the one that was silent longest first."""

    def __init__(
        self,
        patience: Patience | None = None,
        *,
        traces_max: int = TRACES_HELD_MAX,
        spans_max: int = SPANS_PER_TRACE_MAX,
        bytes_max: int = HELD_BYTES_MAX,
        remembered_max: int = CLOSED_REMEMBERED_MAX,
    ) -> None:
        self.patience = patience or Patience()
        self._traces_max, self._spans_max, self._bytes_max = traces_max, spans_max, bytes_max
        self._remembered_max = remembered_max
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._closed: OrderedDict[str, float] = OrderedDict()
        self.bytes = self.spans = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def full(self) -> bool:
        """No more is taken until calls have been told."""
        return self.bytes >= self._bytes_max

    def offer(self, span: ForeignSpan, now_s: float) -> Fate:
        if span.trace in self._closed:
            return Fate.LATE
        held = self._held.get(span.trace)
        if held is None:
            held = self._held[span.trace] = Held()
        if span.span in held.spans:
            return Fate.REPEATED
        if len(held.spans) >= self._spans_max:
            return Fate.TOO_MANY
        held.spans[span.span] = span
        held.last_s = now_s
        held.voice |= span.dialect is not Dialect.OTHER
        held.ended |= is_call(span)
        held.rooted |= not span.parent
        held.weight += span.weight
        self.bytes += span.weight
        self.spans += 1
        self._held.move_to_end(span.trace)
        return Fate.TAKEN

    def withdraw(self, span: ForeignSpan) -> None:
        """It was taken and could not be kept: the sender will send it again."""
        held = self._held[span.trace]
        del held.spans[span.span]
        held.weight -= span.weight
        self.bytes -= span.weight
        self.spans -= 1
        if not held.spans:
            del self._held[span.trace]

    def due(self, now_s: float, at_once: bool = False) -> Iterator[tuple[str, Held]]:
        """The traces whose call is to be told now. `at_once`: all of them, as when the door closes."""
        excess = len(self._held) - self._traces_max
        for place, (trace, held) in enumerate(list(self._held.items())):
            patience_s = self.patience.settle_s if held.over else self.patience.idle_s
            if held.fresh and (at_once or place < excess or now_s - held.last_s >= patience_s):
                yield trace, held

    def told(self, trace: str) -> None:
        """Everything that `due` gave of this trace has been said."""
        held = self._held[trace]
        if held.fresh:
            held.tellings.append(len(held.spans))

    def forget(self, now_s: float) -> list[str]:
        """Let go of what was told and lingered, or is too much; the traces that are closed now."""
        excess = len(self._held) - self._traces_max
        gone = []
        for place, (trace, held) in enumerate(list(self._held.items())):
            if not held.fresh and (place < excess or now_s - held.last_s >= self.patience.linger_s):
                self.close(trace, now_s)
                gone.append(trace)
        while self._closed and (
            len(self._closed) > self._remembered_max or next(iter(self._closed.values())) < now_s - CLOSED_REMEMBERED_S
        ):
            self._closed.popitem(last=False)
        return gone

    def close(self, trace: str, now_s: float) -> None:
        """Forget the trace and remember its id."""
        held = self._held.pop(trace, None)
        if held is not None:
            self.bytes -= held.weight
            self.spans -= len(held.spans)
        self._closed[trace] = now_s
        self._closed.move_to_end(trace)

    def held(self) -> Iterator[tuple[str, Held]]:
        yield from self._held.items()

    def closed(self) -> list[str]:
        return list(self._closed)
