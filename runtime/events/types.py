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
    Topic,
)

NAME_CHARS_MAX = 128
WORDS_CHARS_MAX = 16_384
VARIANTS_MAX = 4
BEAT_CALLS_MAX = 256  # a producer with more open calls says several beats
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

    What is no call and no producer has no numbering: its stream is the UUIDv5 of the caller's idempotency key
    (`stream_of`), its seq 0, so that a second delivery of one fact is known whatever its clock says.
    """

    TOPIC: ClassVar[Topic] = Topic.CALLS
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


class DataUpdated(Event, frozen=True, kw_only=True, gc=False):
    """The call learned a value; the value is content: `DataGiven`."""

    turn: Small
    field: Name


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


class LoopDetected(Event, frozen=True, kw_only=True, gc=False):
    """The call came to the same node again without anything new: `repeats` visits so far."""

    turn: Small
    node: Name
    repeats: Small


class CallLost(Event, frozen=True, kw_only=True, gc=False):
    """A producer's beats named this call, and none of its events has arrived. `producer` is the stream of the beats,
    `last_seq` the highest that they named.
    """

    producer: Id
    last_seq: Seq


class ProducerBeat(Event, frozen=True, kw_only=True, gc=False):
    """Said every few seconds by whoever writes calls; its stream is a UUIDv7 of the producer's own, renewed daily.

    `calls` maps each call that was open since the last beat to the last seq that source `of` has said in it, so that
    a call of which nothing arrives is known to be missing. `spooled` and `dropped` count records: waiting on disk
    now, and lost since the start.
    """

    of: Id
    calls: Annotated[dict[Id, Seq], Meta(max_length=BEAT_CALLS_MAX)] = {}
    spooled: Seq = 0
    dropped: Seq = 0


class WordsHeard(Event, frozen=True, kw_only=True, gc=False):
    TOPIC: ClassVar[Topic] = Topic.CONTENT
    CONTENT: ClassVar[bool] = True

    turn: Small
    text: Words


class WordsSaid(Event, frozen=True, kw_only=True, gc=False):
    TOPIC: ClassVar[Topic] = Topic.CONTENT
    CONTENT: ClassVar[bool] = True

    turn: Small
    text: Words


class ArgumentsGiven(Event, frozen=True, kw_only=True, gc=False):
    """`arguments` is the JSON text of a tool's arguments."""

    TOPIC: ClassVar[Topic] = Topic.CONTENT
    CONTENT: ClassVar[bool] = True

    turn: Small
    tool: Name
    arguments: Words


class DataGiven(Event, frozen=True, kw_only=True, gc=False):
    """The value beside a `DataUpdated`, as text; or an attribute of a foreign span that may hold words, by its name."""

    TOPIC: ClassVar[Topic] = Topic.CONTENT
    CONTENT: ClassVar[bool] = True

    turn: Small
    field: Name
    value: Words


class KeysPressed(Event, frozen=True, kw_only=True, gc=False):
    """What somebody typed on a telephone's keys: account and card numbers among it."""

    TOPIC: ClassVar[Topic] = Topic.CONTENT
    CONTENT: ClassVar[bool] = True

    turn: Small
    keys: Words


class ErrorQuoted(Event, frozen=True, kw_only=True, gc=False):
    """The words of an error, which often quote a caller; its kind and place are on the calls topic."""

    TOPIC: ClassVar[Topic] = Topic.CONTENT
    CONTENT: ClassVar[bool] = True

    turn: Small
    component: Name = ""
    text: Words


class ComplaintQuoted(Event, frozen=True, kw_only=True, gc=False):
    """The words of a complaint about this call; that there is one says `ComplaintFiled`."""

    TOPIC: ClassVar[Topic] = Topic.CONTENT
    CONTENT: ClassVar[bool] = True

    text: Words


class LeadEvent(Event, frozen=True, kw_only=True, gc=False):
    """What became known of a lead. `call` is the call that it is about, where that is known."""

    TOPIC: ClassVar[Topic] = Topic.OUTCOMES

    call: Pseudonym = ""


class ComplaintFiled(LeadEvent, frozen=True, kw_only=True, gc=False):
    """What was said is content."""

    channel: Name


class ConsentGranted(LeadEvent, frozen=True, kw_only=True, gc=False):
    purpose: Name


class ConsentRevoked(LeadEvent, frozen=True, kw_only=True, gc=False):
    """Also for what was revoked in a call, so that one topic has them all. Whoever keeps consents says it."""

    purpose: Name


class ConsentHonoured(LeadEvent, frozen=True, kw_only=True, gc=False):
    """The revocation has taken effect wherever calls are placed."""

    purpose: Name


class OutcomeConfirmed(LeadEvent, frozen=True, kw_only=True, gc=False):
    """What came of it by the word of another system: `value` in that outcome's own unit."""

    outcome: Name
    value: float | None = None


class SurveyAnswered(LeadEvent, frozen=True, kw_only=True, gc=False):
    question: Name
    score: float


class LeadErased(Event, frozen=True, kw_only=True, gc=False):
    """The envelope's `lead` asked to be forgotten. Every reader of the log applies this before anything else."""

    TOPIC: ClassVar[Topic] = Topic.CONTROL


class ContentRead(Event, frozen=True, kw_only=True, gc=False):
    """Somebody read words. `statement` is the SHA-256 of what was asked, which may itself hold words."""

    TOPIC: ClassVar[Topic] = Topic.CONTROL

    reader: Name
    statement: Id
    rows: Seq


# A producer that has no room keeps these when it must drop others. Each is somebody's right or somebody's duty, and no
# other event says it again: what a person allowed, forbade or complained of, how a call ended for them, that they are
# to be forgotten, and who read their words. CallEnded and SourceClosed are not among them: their lack shows by itself.
PROTECTED_TYPES: tuple[type[Event], ...] = (
    DispositionSet,
    ComplaintFiled,
    ConsentGranted,
    ConsentRevoked,
    ConsentHonoured,
    LeadErased,
    ContentRead,
)

ALL_TYPES: tuple[type[Event], ...] = (
    CallStarted,
    SpeechStarted,
    SpeechEnded,
    TurnEnded,
    SpanEnded,
    NodeEntered,
    ToolFired,
    GlitchDetected,
    LoopDetected,
    DataUpdated,
    DispositionSet,
    CallEnded,
    CallLost,
    ProducerBeat,
    EventRefused,
    SourceClosed,
    WordsHeard,
    WordsSaid,
    ArgumentsGiven,
    DataGiven,
    KeysPressed,
    ErrorQuoted,
    ComplaintQuoted,
    ComplaintFiled,
    ConsentGranted,
    ConsentRevoked,
    ConsentHonoured,
    OutcomeConfirmed,
    SurveyAnswered,
    LeadErased,
    ContentRead,
)
