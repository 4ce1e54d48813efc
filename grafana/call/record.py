"""One call as data: turns, speech, spans, glitches, and how complete they are. Folds nothing and draws nothing.

Times are µs from `started_us`, the moment at which the call's account begins; what came before it is negative.
"""

from msgspec import Struct

from runtime.events import UNCOUNTED

UNATTRIBUTED = "unattributed"
GAP_MS_MAX = 3_600_000


class Source(Struct, frozen=True):
    """Whether all that a source said has arrived. `said` is absent until it has closed; `missing` are ranges of seq."""

    name: str
    stored: int
    said: int | None
    missing: tuple[tuple[int, int], ...] = ()

    @property
    def complete(self) -> bool:
        return self.stored == self.said

    @property
    def unknown(self) -> bool:
        """Nobody can know whether all is there: it says what others sent."""
        return self.name in UNCOUNTED


class Speech(Struct, frozen=True):
    """Somebody speaks. `end_us` is absent when no end of it was said; it was over by `until_us` at the latest."""

    source: str
    speaker: str
    turn: int
    start_us: int
    end_us: int | None
    until_us: int


class Span(Struct, frozen=True, kw_only=True):
    """One timed piece of work. `first_us` and `ready_us` count from its start; `orphan`: its parent was never said."""

    source: str
    span: int
    parent: int
    depth: int
    orphan: bool
    turn: int
    component: str
    provider: str
    model: str
    status: str
    start_us: int
    end_us: int
    first_us: int | None
    ready_us: int | None

    @property
    def duration_us(self) -> int:
        return self.end_us - self.start_us


class Segment(Struct, frozen=True):
    """A part of the wait for an answer, laid end to end from `start_us` after the caller's last word.

    `unattributed` may be negative: the parts overlap then. `cut`: the part was ended before it came to anything.
    """

    component: str
    start_us: int
    length_us: int
    span: int = 0
    cut: bool = False


class Glitch(Struct, frozen=True):
    source: str
    seq: int
    turn: int
    at_us: int
    detector: str
    kind: str
    gap_ms: float

    @property
    def gap_us(self) -> int:
        """As it is drawn: a detector that states more than an hour is not believed."""
        return round(min(self.gap_ms, GAP_MS_MAX) * 1000)


class Node(Struct, frozen=True):
    turn: int
    at_us: int
    node: str


class Tool(Struct, frozen=True):
    turn: int
    at_us: int
    node: str
    tool: str
    next_node: str


class Turn(Struct, frozen=True, kw_only=True):
    """All of one turn; number 0 is what belongs to none, the opening above all.

    `outcome` is empty until the turn's end was said. `segments` add up to `latency_us` when there is one; without an
    answer they are what was done until it was cut. `spans` are in the order of a tree, each after its parent.
    """

    number: int
    start_us: int
    end_us: int
    outcome: str = ""
    latency_us: int | None = None
    unattributed_us: int | None = None  # as the source states it
    asked_us: int | None = None  # when the wait began; absent when no part of it is known
    segments: tuple[Segment, ...] = ()
    speech: tuple[Speech, ...] = ()
    spans: tuple[Span, ...] = ()
    nodes: tuple[Node, ...] = ()
    tools: tuple[Tool, ...] = ()
    glitches: tuple[Glitch, ...] = ()

    @property
    def waited_us(self) -> int:
        """The latency, or what was waited in vain."""
        return self.latency_us if self.latency_us is not None else sum(s.length_us for s in self.segments)


class Said(Struct, frozen=True):
    """An event by its envelope. `known` is false for a type that this version does not know: a point in time."""

    source: str
    seq: int
    at_us: int
    type: str
    turn: int | None = None
    known: bool = True


class CallRecord(Struct, frozen=True, kw_only=True):
    """One call. Facts that have not arrived are empty; `begin_us` and `end_us` enclose everything that was said of it.

    `started_us` is the moment of CallStarted, else of the earliest thing known, in µs since 1970.
    """

    call_id: str
    tenant: str
    campaign: str
    agent: str
    agent_version: str
    env: str
    lead: str
    variants: dict[str, str]
    direction: str
    started_us: int
    begin_us: int
    end_us: int
    started: bool
    ended: bool
    end_reason: str
    disposition: str
    turns: tuple[Turn, ...]
    sources: tuple[Source, ...]
    events: tuple[Said, ...]
    cut: bool = False  # more events are stored than one record holds

    @property
    def complete(self) -> bool:
        """Whether every source has closed and nothing that it said is missing."""
        return not self.cut and all(source.complete for source in self.sources)

    @property
    def unknown(self) -> bool:
        """Nothing is known to be missing, and nobody can know that nothing is."""
        return not self.complete and not self.cut and all(s.complete or s.unknown for s in self.sources)

    @property
    def points(self) -> tuple[Said, ...]:
        """Events of types that this version does not know."""
        return tuple(said for said in self.events if not said.known)

    @property
    def slowest_us(self) -> int | None:
        """The worst latency of its turns."""
        return max((t.latency_us for t in self.turns if t.latency_us is not None), default=None)
