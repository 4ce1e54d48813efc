"""The events themselves: one frozen struct a type, flat, named in the past tense.

Every time is in microseconds, every gap in milliseconds. A field is an id, a closed enum, a number or a
name that configuration declares; words live in the content types alone.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from runtime.events.names import (
    Detector,
    Direction,
    EndReason,
    GlitchKind,
    Outcome,
    SpanStatus,
    Speaker,
)

NAME_CHARS_MAX = 128
WORDS_CHARS_MAX = 16_384
VARIANTS_MAX = 4
_U16, _U32, _I64 = 2**16 - 1, 2**32 - 1, 2**63 - 1

Id = Annotated[str, Meta(min_length=1, max_length=64)]
# An HMAC never has a phone's shape; a number that was put here in its place has.
Pseudonym = Annotated[str, Meta(max_length=64, extra={"free": True})]
# A bounded name from configuration. It is free text to the codec, so phone shapes are refused in it.
Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX, extra={"free": True})]
Words = Annotated[str, Meta(max_length=WORDS_CHARS_MAX)]
Seq = Annotated[int, Meta(ge=0, le=_U32)]
Small = Annotated[int, Meta(ge=0, le=_U16)]
Micros = Annotated[int, Meta(ge=0, le=_U32)]  # a duration: up to 71 minutes
Signed = Annotated[int, Meta(ge=-_U32, le=_U32)]  # a difference of durations
Moment = Annotated[int, Meta(ge=0, le=_I64)]  # µs since 1970-01-01 UTC


class Event(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag=True):
    """The envelope. `(stream, source, seq)` is the identity: for a call the stream is its id, a source is
    whoever writes (`runtime`, …), and each source counts its own 0, 1, 2, …
    """

    CONTENT: ClassVar[bool] = False  # words people said: the content topic only
    VERSION: ClassVar[int] = 1

    stream: Id
    source: Id
    seq: Seq
    at: Moment
    v: Literal[1]
    tenant: Name
    campaign: Name
    agent: Name = ""
    agent_version: Id = "0"
    env: Name = "development"
    lead: Pseudonym = ""
    variants: Annotated[dict[Name, Name], Meta(max_length=VARIANTS_MAX)] = {}


class CallStarted(Event, frozen=True, kw_only=True, gc=False):
    direction: Direction


class SpeechStarted(Event, frozen=True, kw_only=True, gc=False):
    speaker: Speaker
    turn: Small


class SpeechEnded(Event, frozen=True, kw_only=True, gc=False):
    speaker: Speaker
    turn: Small
    duration_us: Micros


class TurnEnded(Event, frozen=True, kw_only=True, gc=False):
    """`latency_us`: end of the caller's speech to the agent's first audio; absent when none came.

    `unattributed_us` (signed) is what no component of the turn accounts for.
    """

    turn: Small
    outcome: Outcome
    latency_us: Micros | None = None
    unattributed_us: Signed | None = None


class SpanEnded(Event, frozen=True, kw_only=True, gc=False):
    """One timed piece of work; `at` is its end. `span` and `parent` count from 1 within the source, 0 is none.

    `first_us`: to the first token or byte. `ready_us`: to the point from which the next component can
    work (a response's first whole sentence, a decision's complete tool call).
    """

    span: Seq
    parent: Seq = 0
    turn: Small
    component: Name
    provider: Name = ""
    model: Name = ""
    status: SpanStatus = SpanStatus.OK
    first_us: Micros | None = None
    ready_us: Micros | None = None
    duration_us: Micros

    @property
    def latency_us(self) -> int | None:
        """What the span adds to the caller's wait: ready, else first, else the whole; none unless it succeeded."""
        if self.status is not SpanStatus.OK:
            return None
        if self.ready_us is not None:
            return self.ready_us
        return self.duration_us if self.first_us is None else self.first_us


class NodeEntered(Event, frozen=True, kw_only=True, gc=False):
    turn: Small
    node: Name


class ToolFired(Event, frozen=True, kw_only=True, gc=False):
    """Its arguments are content: `ArgumentsGiven`."""

    turn: Small
    node: Name
    tool: Name
    next_node: Name


class GlitchDetected(Event, frozen=True, kw_only=True, gc=False):
    """`at` is the moment the gap was heard to begin."""

    turn: Small
    detector: Detector
    kind: GlitchKind
    gap_ms: Annotated[float, Meta(ge=0)]


class DispositionSet(Event, frozen=True, kw_only=True, gc=False):
    disposition: Name


class CallEnded(Event, frozen=True, kw_only=True, gc=False):
    reason: EndReason


class EventRefused(Event, frozen=True, kw_only=True, gc=False):
    """Stands at the seq of an event that the codec refused, so that nothing is missing without a reason."""

    refused: Name
    field: Name


class SourceClosed(Event, frozen=True, kw_only=True, gc=False):
    """The source's last event. `last_seq` is its own seq: the source said `last_seq + 1` events."""

    last_seq: Seq


class WordsHeard(Event, frozen=True, kw_only=True, gc=False):
    CONTENT: ClassVar[bool] = True

    turn: Small
    text: Words


class WordsSaid(Event, frozen=True, kw_only=True, gc=False):
    CONTENT: ClassVar[bool] = True

    turn: Small
    text: Words


class ArgumentsGiven(Event, frozen=True, kw_only=True, gc=False):
    """`arguments` is the JSON text of a tool's arguments."""

    CONTENT: ClassVar[bool] = True

    turn: Small
    tool: Name
    arguments: Words


CALL_TYPES: tuple[type[Event], ...] = (
    CallStarted,
    SpeechStarted,
    SpeechEnded,
    TurnEnded,
    SpanEnded,
    NodeEntered,
    ToolFired,
    GlitchDetected,
    DispositionSet,
    CallEnded,
    EventRefused,
    SourceClosed,
)
CONTENT_TYPES: tuple[type[Event], ...] = (WordsHeard, WordsSaid, ArgumentsGiven)
