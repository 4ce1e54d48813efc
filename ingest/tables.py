"""The face of what is stored: the public views, and the Arrow schemas of the tables behind them. Opens no connection.

Read the views: they collapse redeliveries. The `*_log` tables hold every delivery until a merge and are for writers.
"""

from collections.abc import Mapping
from enum import StrEnum

import pyarrow as pa

from ingest.views import COLUMNS, VIEWS, View
from runtime.events import Topic

__all__ = ["COLUMNS", "RAW", "SCHEMAS", "VIEWS", "Log", "View"]


class Log(StrEnum):
    """Every table behind the views. Four are not written from Arrow: see `store.calls`, `store.logs`, `reconcile`."""

    EVENTS = "events_log"
    OUTCOMES = "outcomes_log"
    CONTROL = "control_log"
    CONTENT = "content_log"
    TURNS = "turns_log"
    SPANS = "spans_log"
    GLITCHES = "glitches_log"
    TOOL_CALLS = "tool_calls_log"
    LATENCY_1M = "latency_1m_log"
    LATENCY_BY_VARIATION_1M = "latency_by_variation_1m_log"
    QUALITY_1M = "quality_1m_log"
    CALLS = "calls_log"
    LOGS = "logs_log"
    RECONCILED = "reconciled_log"
    CORRECTIONS = "corrections_log"


_TEXT, _U16, _U32, _U64 = pa.string(), pa.uint16(), pa.uint32(), pa.uint64()


def _fields(*named: tuple[str, pa.DataType], nullable: bool = False) -> list[pa.Field]:
    return [pa.field(name, kind, nullable=nullable) for name, kind in named]


_COMMON = _fields(
    ("tenant", _TEXT),
    ("day", pa.date32()),
    ("stream", _TEXT),
    ("source", _TEXT),
    ("seq", _U32),
    ("at", pa.timestamp("us", "UTC")),
    ("campaign", _TEXT),
    ("agent", _TEXT),
    ("agent_version", _TEXT),
    ("log", _TEXT),
    ("partition", _U16),
    ("offset", _U64),
    ("first", _U64),
    ("arrived", pa.timestamp("ms", "UTC")),
)
_VARIANTS, _BUCKETS = pa.map_(_TEXT, _TEXT), pa.map_(pa.int16(), _U32)

_RAW = pa.schema(
    _COMMON + _fields(("type", _TEXT), ("env", _TEXT), ("lead", _TEXT), ("variants", _VARIANTS), ("payload", _TEXT))
)

# Every event of a topic lies in one table, in one shape.
RAW: Mapping[Topic, Log] = {
    Topic.CALLS: Log.EVENTS,
    Topic.OUTCOMES: Log.OUTCOMES,
    Topic.CONTROL: Log.CONTROL,
    Topic.CONTENT: Log.CONTENT,
}


def _rollup(*dimensions: str) -> pa.Schema:
    """A minute of a tenant by these dimensions, as one epoch of one partition adds to it."""
    key = _fields(("minute", pa.timestamp("s", "UTC")), ("tenant", _TEXT), *((name, _TEXT) for name in dimensions))
    fold = _fields(("log", _TEXT), ("partition", _U16), ("epoch", _U64), ("version", _U64), ("buckets", _BUCKETS))
    return pa.schema(key + fold)


# What a writer sends; columns that the store computes (payload_hash) are not here.
SCHEMAS: Mapping[Log, pa.Schema] = {
    **dict.fromkeys(RAW.values(), _RAW),
    Log.TURNS: pa.schema(
        _COMMON
        + _fields(("turn", _U16), ("outcome", _TEXT))
        + _fields(("latency_us", _U32), ("unattributed_us", pa.int64()), nullable=True)
    ),
    Log.SPANS: pa.schema(
        _COMMON
        + _fields(("turn", _U16), ("span", _U32), ("parent", _U32), ("component", _TEXT), ("provider", _TEXT))
        + _fields(("model", _TEXT), ("status", _TEXT))
        + _fields(("first_us", _U32), ("ready_us", _U32), nullable=True)
        + _fields(("duration_us", _U32))
        + _fields(("latency_us", _U32), nullable=True)
    ),
    Log.GLITCHES: pa.schema(
        _COMMON + _fields(("turn", _U16), ("detector", _TEXT), ("kind", _TEXT), ("gap_ms", pa.float64()))
    ),
    Log.TOOL_CALLS: pa.schema(
        _COMMON + _fields(("turn", _U16), ("node", _TEXT), ("tool", _TEXT), ("next_node", _TEXT))
    ),
    Log.LATENCY_1M: _rollup("campaign", "component", "provider", "model"),
    Log.LATENCY_BY_VARIATION_1M: _rollup("campaign", "experiment", "variation", "component"),
    Log.QUALITY_1M: _rollup("campaign", "what"),
}
