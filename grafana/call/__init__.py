"""One call as a picture: read from the store, folded into a record, held against the objectives, written as a page."""

from grafana.call.breach import Breach, breaches
from grafana.call.find import find_call
from grafana.call.fold import Unknown, call_record
from grafana.call.lines import CallLine, list_calls
from grafana.call.page import call_page
from grafana.call.read import read_calls, read_events
from grafana.call.record import CallRecord, Glitch, Node, Said, Segment, Source, Span, Speech, Tool, Turn
from grafana.call.wanted import Filters, Sort, since

__all__ = [
    "Breach",
    "CallLine",
    "CallRecord",
    "Filters",
    "Glitch",
    "Node",
    "Said",
    "Segment",
    "Sort",
    "Source",
    "Span",
    "Speech",
    "Tool",
    "Turn",
    "Unknown",
    "breaches",
    "call_page",
    "call_record",
    "find_call",
    "list_calls",
    "read_calls",
    "read_events",
    "since",
]
