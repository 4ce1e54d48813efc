"""Names that exist once, as closed types: topics, components, outcomes, metrics and their labels."""

from enum import StrEnum


class Topic(StrEnum):
    """Kafka topics. One event per record, JSON. Partition counts are fixed for a topic's life."""

    CALLS = "turnlog.calls.v1"
    CONTENT = "turnlog.content.v1"  # words people said, at most 7 days
    OUTCOMES = "turnlog.outcomes.v1"  # what became known of a lead, days later
    CONTROL = "turnlog.control.v1"  # compacted: what every process must know
    DEAD_LETTERS = "turnlog.dlq.v1"
    DEAD_CONTENT = "turnlog.dlq.content.v1"


class Component(StrEnum):
    """Components of a voice turn. Another domain names its own; the log takes any bounded name."""

    OPENING = "opening"  # the agent speaks first: nobody has spoken yet, so it is no turn's latency
    TURN = "turn"
    END_OF_TURN = "end_of_turn"
    ASR = "asr"
    DECISION = "decision"
    TOOL = "tool"
    RESPONSE = "response"
    TTS = "tts"


class Direction(StrEnum):
    INBOUND = "inbound"
    OUTBOUND = "outbound"
    UNKNOWN = "unknown"  # who watches from outside may not know


class Speaker(StrEnum):
    CALLER = "caller"
    AGENT = "agent"


class Outcome(StrEnum):
    """What became of a turn of the caller; `runtime.voice.outcome` folds it from speech."""

    ANSWERED = "answered"
    DISAPPEARED = "disappeared"
    CONTINUED = "continued"
    INTERRUPTED = "interrupted"
    HUNG_UP = "hung_up"


class SpanStatus(StrEnum):
    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"


class Detector(StrEnum):
    PLAYOUT = "playout"  # the orchestrator, as it happens
    AUDIO = "audio"  # the recording, after the call


class GlitchKind(StrEnum):
    UNDERRUN = "underrun"
    DEAD_AIR = "dead_air"  # a second or more of nothing inside the agent's turn


class EndReason(StrEnum):
    AGENT_ENDED = "agent_ended"
    CALLER_HUNG_UP = "caller_hung_up"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a record became a dead letter."""

    MALFORMED = "malformed"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_VERSION = "unknown_version"
    INVALID = "invalid"
    WRONG_TOPIC = "wrong_topic"
    WRONG_STREAM = "wrong_stream"
    CLOCK = "clock"
    CONFLICT = "conflict"
    REFUSED_BY_STORE = "refused_by_store"


class Loss(StrEnum):
    """Why a producer gave a record up."""

    HAND_OVER = "hand_over"  # too many waited in memory
    NO_ROOM = "no_room"  # the spool was full, or its disk
    REFUSED = "refused"  # no broker would ever take it: too large, a key that is no text
    AGED = "aged"  # words that waited longer than words may
    DAMAGED = "damaged"  # its file could not be read back
    CLOSED = "closed"  # said after the end


class Metric(StrEnum):
    """Every Prometheus series that we expose."""

    LATENCY = "turnlog_latency_seconds"
    GLITCHES = "turnlog_glitches"
    TURNS = "turnlog_turns"
    RECORDS = "turnlog_ingest_records"
    DUPLICATES = "turnlog_ingest_duplicates"
    CONFLICTS = "turnlog_ingest_conflicts"
    DEAD_LETTERS = "turnlog_ingest_dead_letters"
    FLUSH_SECONDS = "turnlog_ingest_flush_seconds"
    RETRIES = "turnlog_ingest_retries"
    HELD_BYTES = "turnlog_ingest_held_bytes"
    PAUSES = "turnlog_ingest_pauses"
    LAG = "turnlog_ingest_lag_records"
    YOUNGEST = "turnlog_ingest_youngest_timestamp_seconds"
    DOOR_SPANS = "turnlog_door_spans"
    DOOR_REFUSED = "turnlog_door_refused_requests"
    DOOR_DROPPED = "turnlog_door_dropped"
    DOOR_EVENTS = "turnlog_door_events"
    DOOR_HELD = "turnlog_door_held_traces"
    EMIT_TAKEN = "turnlog_emit_taken"
    EMIT_DELIVERED = "turnlog_emit_delivered"
    EMIT_DROPPED = "turnlog_emit_dropped"
    EMIT_WAITING = "turnlog_emit_waiting_records"
    EMIT_SPOOLED = "turnlog_emit_spooled_records"
    EMIT_RESERVE = "turnlog_emit_reserve_free_ratio"
    EMIT_ACCEPTS = "turnlog_emit_accepts_calls"
    RECONCILED_DIFFERING = "turnlog_reconciler_differing_rows"
    RECONCILED_ERROR = "turnlog_reconciler_relative_error"
    RECONCILED_AT = "turnlog_reconciler_recount_timestamp_seconds"
    CALLS_LOST = "turnlog_reconciler_calls_lost"


class Label(StrEnum):
    """Every label a series may carry. Never a call, a phone number or a speaker."""

    TENANT = "tenant"
    CAMPAIGN = "campaign"
    COMPONENT = "component"
    PROVIDER = "provider"
    MODEL = "model"
    OUTCOME = "outcome"
    DETECTOR = "detector"
    REASON = "reason"
    TOPIC = "topic"
    PARTITION = "partition"
    TYPE = "type"  # an event's type
    ROLLUP = "rollup"  # the table of it
