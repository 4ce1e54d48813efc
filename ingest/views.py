"""What may be read: every public view, column by column, with type and meaning. Knows no SQL and opens no connection.

The one home of these words: `turnlog sql --views`, docs/sql.md and the comments in ClickHouse are made from it.
A column's unit ends its name.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class View(StrEnum):
    """What may be read. Names are API."""

    EVENTS = "events"
    CALLS = "calls"
    TURNS = "turns"
    SPANS = "spans"
    GLITCHES = "glitches"
    TOOL_CALLS = "tool_calls"
    NODES = "nodes"
    SPEECH = "speech"
    SOURCES = "sources"
    LATENCY_1M = "latency_1m"
    LATENCY_BY_VARIATION_1M = "latency_by_variation_1m"
    QUALITY_1M = "quality_1m"
    OUTCOMES = "outcomes"
    WELFARE = "welfare"
    WELFARE_BY_LEAD = "welfare_by_lead"
    CALL_COMPLETENESS = "call_completeness"
    COMPLETENESS = "completeness"
    PRODUCERS = "producers"
    CORRECTIONS = "corrections"
    CONTENT = "content"


class Column(NamedTuple):
    """`type` is ClickHouse's."""

    name: str
    type: str
    meaning: str

    @property
    def unit(self) -> str:
        """The unit that its name ends with; a number without one is a count or an id."""
        if self.type.removeprefix("Nullable(").startswith("DateTime"):
            return "UTC"
        return {"us": "µs", "ms": "ms"}.get(self.name.rpartition("_")[2], "")


class Description(NamedTuple):
    """`row` says what one row is; `collapsed` what makes one row of what was stored several times."""

    row: str
    collapsed: str
    columns: tuple[Column, ...]


# What the welfare views count; the migrations say the same, and tests hold them to it.
EARLY_HANGUP_S = 20
EARLY_HANGUP_TURNS = 2
REPEAT_DAYS = 7
REDIAL_MINUTES = 10
OPTED_OUT = "opted_out"

_NAME, _MOMENT, _COUNT = "LowCardinality(String)", "DateTime64(6, 'UTC')", "UInt64"
_FIRST = "of several deliveries of one event (tenant, day, call_id, source, seq) the first"

_TENANT = Column("tenant", _NAME, "whose calls these are")
_DAY = Column(
    "day", "Date", "the UTC day in the call's id, the same for all its events: filter by it and only that day is read"
)
_CALL = Column("call_id", "String", "the call: a UUIDv7, so ids sort by the time of their start")
_SOURCE = Column(
    "source", _NAME, "who wrote the event: runtime, or another writer in the same call; door says what others sent"
)
_SEQ = Column(
    "seq", "UInt32", "the event's number within its call and source, from 0: the order in which things were said"
)
_AT = Column("at", _MOMENT, "when it happened, by the writer's clock")
_CAMPAIGN = Column("campaign", _NAME, "the campaign")
_AGENT = (Column("agent", _NAME, "the agent's name"), Column("agent_version", _NAME, "the agent's version"))
_ENV = Column("env", _NAME, "production, development, …")
_LEAD = Column("lead", "String", "who was called, as a pseudonym (a keyed hash); empty: not known")
_EVENT = (_TENANT, _DAY, _CALL, _SOURCE, _SEQ, _AT, _CAMPAIGN, *_AGENT)
_TURN = Column("turn", "UInt16", "the caller's turn, from 1; 0 is the agent's opening")
_COMPONENT = Column("component", _NAME, "turn (end to end), end_of_turn, asr, decision, tool, response, tts or opening")
_PROVIDER = Column("provider", _NAME, "who did the work; empty: nobody outside")
_MODEL = Column("model", _NAME, "the model that did it; empty: none")

_FOLDED = "of several folds of one epoch of the log the last; epochs and partitions are added up"
_MINUTE = Column("minute", "DateTime('UTC')", "the minute in which it happened")
_SKETCH = (
    Column("n", _COUNT, "spans counted"),
    Column(
        "buckets",
        f"Map(Int16, {_COUNT})",
        "logarithmic bucket of latency_us → spans: add up by sumMap, read by quantile_us",
    ),
    Column("p50_us", "Nullable(Float64)", "the median of this row alone; do not average it"),
    Column("p90_us", "Nullable(Float64)", "the 90th percentile of this row alone; do not average it"),
)

VIEWS: Mapping[View, Description] = {
    View.EVENTS: Description(
        "one event, as it was said",
        _FIRST,
        (
            *(_TENANT, _DAY, Column("stream", "String", "call_id under the name that the contract has for it"), _CALL),
            *(_SOURCE, _SEQ, _AT, Column("type", _NAME, "CallStarted, TurnEnded, …"), _CAMPAIGN, *_AGENT, _ENV, _LEAD),
            Column("variants", f"Map({_NAME}, {_NAME})", "experiment → the variation that the call was given"),
            Column("payload", "String", "the whole event as JSON: JSONExtractString(payload, 'node')"),
            Column("payload_hash", "UInt64", "sipHash64 of the payload"),
            Column("log", _NAME, "the id of the Kafka topic that it came from"),
            Column("partition", "UInt16", "its partition"),
            Column("offset", "UInt64", "its offset; a filter on it applies to first deliveries only"),
        ),
    ),
    View.CALLS: Description(
        "one call, as its events stand now",
        "of several derivations of one call (tenant, day, call_id) the one from most events",
        (
            *(_TENANT, _DAY, _CALL, _CAMPAIGN, *_AGENT, _ENV, _LEAD),
            Column("direction", _NAME, "outbound, inbound or unknown; empty until CallStarted has arrived"),
            Column("started_at", f"Nullable({_MOMENT})", "NULL until CallStarted has arrived"),
            Column("ended_at", f"Nullable({_MOMENT})", "NULL until CallEnded has arrived"),
            Column(
                "end_reason", _NAME, "agent_ended, caller_hung_up, failed or unknown; empty until CallEnded has arrived"
            ),
            Column("disposition", _NAME, "the last that was set; empty: none yet"),
            Column("turns", _COUNT, "turns that ended"),
            Column("disappeared", _COUNT, "those in which the caller spoke again before any agent answered"),
            Column("interrupted", _COUNT, "those in which the caller spoke over the agent"),
            Column("glitches", _COUNT, "gaps in the audio, of all detectors"),
            Column("events", _COUNT, "events stored, of all sources"),
        ),
    ),
    View.TURNS: Description(
        "one turn of a caller that ended",
        _FIRST,
        (
            *(*_EVENT, _TURN),
            Column("outcome", _NAME, "answered, disappeared, continued, interrupted or hung_up"),
            Column(
                "latency_us",
                "Nullable(UInt32)",
                "end of the caller's speech to the agent's first audio; NULL: none came",
            ),
            Column(
                "unattributed_us", "Nullable(Int64)", "the part of latency_us that no component accounts for, signed"
            ),
        ),
    ),
    View.SPANS: Description(
        "one timed piece of work; at is its end",
        _FIRST,
        (
            *(*_EVENT, _TURN),
            Column("span", "UInt32", "its number within call and source, from 1"),
            Column("parent", "UInt32", "the span that it is part of; 0: none"),
            *(_COMPONENT, _PROVIDER, _MODEL, Column("status", _NAME, "ok, error or cancelled")),
            Column("first_us", "Nullable(UInt32)", "to the first token or byte"),
            Column("ready_us", "Nullable(UInt32)", "to the point from which the next component can work"),
            Column("duration_us", "UInt32", "to its end"),
            Column(
                "latency_us",
                "Nullable(UInt32)",
                "its part of the caller's wait: ready_us, else first_us, else duration_us; NULL unless ok",
            ),
        ),
    ),
    View.GLITCHES: Description(
        "one gap in what the caller heard; at is where it begins",
        _FIRST,
        (
            *(*_EVENT, _TURN),
            Column("detector", _NAME, "playout (as it happened) or audio (from the recording): two may report one gap"),
            Column("kind", _NAME, "underrun, or dead_air: a second or more without a sound inside the agent's turn"),
            Column("gap_ms", "Float64", "how long it was"),
        ),
    ),
    View.TOOL_CALLS: Description(
        "one tool that fired, and so one step through the graph",
        _FIRST,
        (
            *(*_EVENT, _TURN),
            Column("node", _NAME, "the node that the call was in"),
            Column("tool", _NAME, "the tool that was picked there"),
            Column("next_node", _NAME, "the node that it leads to"),
        ),
    ),
    View.NODES: Description(
        "one entry into a node of the graph",
        _FIRST,
        (
            *(*_EVENT, _TURN),
            Column("node", _NAME, "the node that was entered; what the agent says from here on in this turn is its"),
        ),
    ),
    View.SPEECH: Description(
        "one stretch of speech that ended; at is its end",
        _FIRST,
        (
            *(*_EVENT, _TURN),
            Column("speaker", _NAME, "caller or agent"),
            Column("started_at", _MOMENT, "its beginning: at less duration_us"),
            Column("duration_us", "UInt32", "how long it was"),
        ),
    ),
    View.SOURCES: Description(
        "one writer in one call: whether all that it said has arrived",
        "counted over first deliveries",
        (
            *(_TENANT, _DAY, _CALL, _SOURCE),
            Column("stored", _COUNT, "events of it that are stored"),
            Column("said", f"Nullable({_COUNT})", "events that it said, by its SourceClosed; NULL: it has not closed"),
            Column(
                "complete",
                "UInt8",
                "1 when it has closed and all is stored, else 0; of door never, since nobody counts what others send",
            ),
            Column(
                "state",
                _NAME,
                "complete, incomplete, or unknown: it has not closed, or never does, as what comes by the OTLP door",
            ),
        ),
    ),
    View.LATENCY_1M: Description(
        "one minute of one component of a campaign, from spans that succeeded",
        _FOLDED,
        (_MINUTE, _TENANT, _CAMPAIGN, _COMPONENT, _PROVIDER, _MODEL, *_SKETCH),
    ),
    View.LATENCY_BY_VARIATION_1M: Description(
        "one minute of one component in one arm of an experiment, from spans that succeeded",
        _FOLDED,
        (
            *(_MINUTE, _TENANT, _CAMPAIGN),
            Column("experiment", _NAME, "the experiment that the call was in; a call in two counts in both"),
            Column("variation", _NAME, "the arm that the call was given"),
            *(_COMPONENT, *_SKETCH),
        ),
    ),
    View.QUALITY_1M: Description(
        "one minute of a campaign, counted by the time of the event",
        _FOLDED,
        (
            *(_MINUTE, _TENANT, _CAMPAIGN),
            Column("calls_started", _COUNT, "calls that began"),
            Column("calls_ended", _COUNT, "calls that ended"),
            Column("calls_lost", _COUNT, "calls that a producer named and of which nothing had arrived"),
            Column("turns", _COUNT, "turns that ended"),
            Column("disappeared", _COUNT, "those in which the caller spoke again before any agent answered"),
            Column("interrupted", _COUNT, "those in which the caller spoke over the agent"),
            Column("underruns_playout", _COUNT, "gaps in the agent's speech, found as they happened"),
            Column("underruns_audio", _COUNT, "gaps found in the recording; one gap may be in both counts"),
            Column("dead_air", _COUNT, "stretches of a second or more without a sound inside the agent's turn"),
            Column("loops", _COUNT, "returns to a node without anything new"),
        ),
    ),
    View.OUTCOMES: Description(
        "one fact of a lead, often known days after the call; at is when it happened",
        "of several deliveries of one fact the first",
        (
            *(_TENANT, Column("fact", "String", "its id"), _AT),
            Column(
                "type",
                _NAME,
                "ComplaintFiled, ConsentGranted, ConsentRevoked, ConsentHonoured, OutcomeConfirmed or SurveyAnswered",
            ),
            *(_CAMPAIGN, *_AGENT, _ENV, Column("lead", "String", "of whom, as a pseudonym; empty: not known")),
            Column("call_id", "String", "the call that it is about; empty: none in particular"),
            Column("name", _NAME, "the complaint's channel, the consent's purpose, the outcome or the question"),
            Column("value", "Nullable(Float64)", "the outcome's value in its own unit, or the answer's score"),
        ),
    ),
    View.WELFARE: Description(
        "one call, and what it did to a person",
        "computed from calls and outcomes on reading",
        (
            *(_TENANT, _DAY, _CALL, _CAMPAIGN, *_AGENT, _ENV, _LEAD),
            Column("direction", _NAME, "outbound or inbound"),
            Column("started_at", f"Nullable({_MOMENT})", "NULL until CallStarted has arrived"),
            Column("complaints", _COUNT, "complaints about this call"),
            Column("consents_revoked", _COUNT, "consents that were revoked because of it"),
            Column("opted_out", "LowCardinality(UInt8)", f"1 when its disposition is {OPTED_OUT}"),
            Column(
                "hung_up_early",
                "UInt8",
                f"1 when the caller hung up within {EARLY_HANGUP_S} s or before turn {EARLY_HANGUP_TURNS} ended",
            ),
            Column(
                "watched_until",
                f"Nullable({_MOMENT})",
                f"{REPEAT_DAYS} days after its start: filter by it to read as of another time; "
                "NULL: not our call to a known lead",
            ),
            Column("watched", "UInt8", "1 when that time has passed; until then repeat_calls is not known"),
            Column(
                "repeat_calls",
                f"Nullable({_COUNT})",
                f"inbound calls of the lead within {REPEAT_DAYS} days after this last call of ours, redials apart; "
                "NULL: not watched",
            ),
            Column(
                "redials",
                f"Nullable({_COUNT})",
                f"1 when the next call with the lead, either way, came within {REDIAL_MINUTES} minutes after this one "
                "failed; NULL: no lead",
            ),
        ),
    ),
    View.WELFARE_BY_LEAD: Description(
        "one lead of one campaign, and what its calls did to them",
        "computed from welfare and outcomes on reading",
        (
            *(_TENANT, _CAMPAIGN, Column("lead", "String", "who, as a pseudonym; whoever is not known is not here")),
            Column("calls", _COUNT, "our calls to them"),
            Column("complaints", _COUNT, "complaints, about a call or none in particular"),
            Column("consents_revoked", _COUNT, "consents that they revoked"),
            Column("opted_out", _COUNT, f"calls whose disposition is {OPTED_OUT}"),
            Column("hung_up_early", _COUNT, "calls in which they hung up early, as welfare has it"),
            Column(
                "watched_until", f"Nullable({_MOMENT})", f"{REPEAT_DAYS} days after our last call; NULL: we made none"
            ),
            Column("watched", "UInt8", "1 when that time has passed: leave the others out of a rate of repeat calls"),
            Column("repeat_calls", f"Nullable({_COUNT})", "inbound calls that followed ours; NULL: not watched"),
            Column("redials", _COUNT, "calls again right after one that failed"),
        ),
    ),
    View.CALL_COMPLETENESS: Description(
        "one call: whether all that was said of it has arrived",
        "counted over first deliveries",
        (
            *(_TENANT, _DAY, _CALL, Column("campaign", "String", "the campaign")),
            Column(
                "state",
                _NAME,
                "complete: every writer; incomplete: one has closed and lacks events; unknown: one has not closed; "
                "lost: a producer named the call and nothing of it has arrived",
            ),
            Column("sources", _COUNT, "its writers"),
            Column("stored", _COUNT, "events stored"),
            Column("said", _COUNT, "events said by those that have closed, and stored of the others"),
        ),
    ),
    View.COMPLETENESS: Description(
        "one day of a campaign: whether all that was said has arrived",
        "counted over first deliveries",
        (
            *(
                _TENANT,
                _DAY,
                Column("campaign", "String", "the campaign"),
                Column("calls", _COUNT, "its calls, those lost among them"),
            ),
            Column("complete", _COUNT, "all that their writers said is stored"),
            Column("incomplete", _COUNT, "a writer has closed, and events of it are missing"),
            Column("unknown", _COUNT, "a writer has not closed: the call runs, or who wrote it never says how much"),
            Column("lost", _COUNT, "a producer named them, and nothing of them has arrived"),
            Column("said", _COUNT, "events said by writers that have closed, and stored of the others"),
            Column("stored", _COUNT, "events stored"),
        ),
    ),
    View.PRODUCERS: Description(
        "one day of whoever writes calls of a campaign, by its beats; who has no open call says none",
        _FIRST,
        (
            *(_TENANT, _DAY, Column("producer", "String", "the stream of its beats"), _CAMPAIGN, _ENV),
            Column("of", _NAME, "the source that it writes as"),
            Column("first_beat_at", _MOMENT, "its first beat, by its clock"),
            Column("last_beat_at", _MOMENT, "its last"),
            Column("open_calls", _COUNT, "calls that the last beat names"),
            Column("spooled", _COUNT, "records that waited on its disk at the last beat"),
            Column("dropped", _COUNT, "records that it has lost since its start"),
        ),
    ),
    View.CORRECTIONS: Description(
        "one key of a rollup that was put right after its day had been consolidated",
        "none: a row is a correction",
        (
            Column("at", _MOMENT, "when it was put right"),
            Column("rollup_table", _NAME, "the table behind the view"),
            *(_MINUTE, _TENANT, Column("dimensions", "Array(String)", "the rollup's columns after tenant")),
            *(Column("before", _COUNT, "what it counted"), Column("after", _COUNT, "what it counts since")),
        ),
    ),
    View.CONTENT: Description(
        "one thing that people said, typed or gave; with a credential of its own, and each reading is an event",
        _FIRST,
        (
            *(_TENANT, _DAY, _CALL, _SOURCE, _SEQ, _AT),
            Column("type", _NAME, "WordsHeard, WordsSaid, ArgumentsGiven, DataGiven, KeysPressed, …"),
            *(_CAMPAIGN, *_AGENT),
            Column("turn", "UInt16", "the caller's turn, from 1; 0 is the agent's opening, or of no turn"),
            Column("name", _NAME, "the tool whose arguments these are, the field, or the part that failed; else empty"),
            Column("text", "String", "what was said or given; a tool's arguments as JSON"),
        ),
    ),
}

COLUMNS: Mapping[View, tuple[str, ...]] = {
    view: tuple(column.name for column in described.columns) for view, described in VIEWS.items()
}
