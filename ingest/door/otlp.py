"""OTLP's bytes, protobuf or JSON, to foreign spans. Opens no connection, and keeps no word that is not wanted."""

import zlib
from collections import Counter
from collections.abc import Iterator

import msgspec
from google.protobuf.message import DecodeError

from ingest.door import wire_json, wire_protobuf
from ingest.door.attributes import MARKS, SPAN_NAMES, Sorted
from ingest.door.limits import (
    BODY_UNPACKED_BYTES_MAX,
    SEEN_AHEAD_MAX_S,
    SEEN_BEFORE_MAX_S,
    SPAN_EVENTS_MAX,
    SPANS_PER_REQUEST_MAX,
)
from ingest.door.raw import Raw
from ingest.door.span import Dialect, ForeignSpan

_DIALECTS = {
    "pipecat": Dialect.PIPECAT,
    "pipecat.turn": Dialect.PIPECAT,
    "livekit-agents": Dialect.LIVEKIT,
}
_OURS = "turnlog.runtime"  # the log has those spans from the runtime itself
_ERROR = 2


class BodyRefused(ValueError):
    """The body is no OTLP, or too large. The message holds nothing of it."""

    def __init__(self, message: str, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


class Taken(msgspec.Struct):
    """What became of a request: the spans to keep, and how many were not taken, and why."""

    spans: list[ForeignSpan] = []
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    attributes_dropped: int = 0
    ours: int = 0


def unpack(body: bytes, bytes_max: int = BODY_UNPACKED_BYTES_MAX) -> bytes:
    """What was compressed by gzip. Raises BodyRefused; a bomb is not unpacked beyond the limit."""
    stream = zlib.decompressobj(wbits=31)
    try:
        data = stream.decompress(body, bytes_max)
    except zlib.error:
        raise BodyRefused("the body is no gzip") from None
    if stream.unconsumed_tail:
        raise BodyRefused(f"the body unpacks to more than {bytes_max} bytes: send fewer spans at once", too_large=True)
    if not stream.eof or stream.unused_data:
        raise BodyRefused("the body is no gzip, or more than one")
    return data


def read_protobuf(data: bytes, now_us: int, content: bool, spans_max: int = SPANS_PER_REQUEST_MAX) -> Taken:
    """Raises BodyRefused."""
    try:
        raws = wire_protobuf.spans(data)
    except DecodeError:
        raise BodyRefused("the body is no ExportTraceServiceRequest in protobuf") from None
    return _read(raws, now_us, content, spans_max)


def read_json(data: bytes, now_us: int, content: bool, spans_max: int = SPANS_PER_REQUEST_MAX) -> Taken:
    """Raises BodyRefused."""
    try:
        raws = wire_json.spans(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BodyRefused("the body is no ExportTraceServiceRequest in OTLP's JSON") from None
    return _read(raws, now_us, content, spans_max)


def _read(raws: Iterator[Raw], now_us: int, content: bool, spans_max: int) -> Taken:
    taken = Taken()
    for number, raw in enumerate(raws):
        why = "too_many" if number >= spans_max else _fault(raw, now_us)
        if why:
            taken.refused[why] += 1
        elif raw.scope == _OURS:
            taken.ours += 1
        else:
            taken.spans.append(_kept(raw, content, taken))
    return taken


def _fault(raw: Raw, now_us: int) -> str:
    if len(raw.trace) != 32 or len(raw.span) != 16 or not raw.trace.strip("0") or not raw.span.strip("0"):
        return "no_id"
    if not 0 < raw.start_us <= raw.end_us:
        return "no_time"
    early, late = now_us - SEEN_BEFORE_MAX_S * 1_000_000, now_us + SEEN_AHEAD_MAX_S * 1_000_000
    return "" if early <= raw.start_us and raw.end_us <= late else "clock"


def _kept(raw: Raw, content: bool, taken: Taken) -> ForeignSpan:
    sorted_ = Sorted(content)
    sorted_.take(raw.attributes)
    sorted_.say("status.message", raw.message)
    marks = []
    for number, (name, attributes) in enumerate(raw.events):
        if number >= SPAN_EVENTS_MAX:
            taken.attributes_dropped += 1
            continue
        if name in MARKS:
            marks.append(name)
        sorted_.take(attributes)
    taken.attributes_dropped += sorted_.dropped
    return ForeignSpan(
        trace=raw.trace,
        span=raw.span,
        parent=raw.parent,
        dialect=_DIALECTS.get(raw.scope, Dialect.OTHER),
        name=raw.name if raw.name in SPAN_NAMES else "",
        start_us=raw.start_us,
        end_us=raw.end_us,
        failed=raw.status == _ERROR,
        said=sorted_.said,
        called=sorted_.called,
        facts=sorted_.facts,
        about=raw.about,
        marks=tuple(marks),
        words=tuple(sorted_.words),
    )
