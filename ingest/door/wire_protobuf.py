"""OTLP's protobuf."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ingest.door.raw import Pair, Raw, as_text, of_process


def spans(data: bytes) -> Iterator[Raw]:
    """Raises google.protobuf.message.DecodeError before the first span."""
    return _spans(ExportTraceServiceRequest.FromString(data))


def _spans(request: ExportTraceServiceRequest) -> Iterator[Raw]:
    for of_resource in request.resource_spans:
        about = of_process(_pairs(of_resource.resource.attributes))
        for of_scope in of_resource.scope_spans:
            scope = of_scope.scope.name
            for s in of_scope.spans:
                yield Raw(
                    *(s.trace_id.hex(), s.span_id.hex(), s.parent_span_id.hex(), scope, s.name),
                    start_us=s.start_time_unix_nano // 1000,
                    end_us=s.end_time_unix_nano // 1000,
                    status=s.status.code,
                    message=s.status.message,
                    attributes=_pairs(s.attributes),
                    events=((e.name, _pairs(e.attributes)) for e in s.events),
                    about=about,
                )


def _pairs(attributes: Any) -> Iterator[Pair]:
    for a in attributes:
        which = a.value.WhichOneof("value")
        scalar = which in {"string_value", "bool_value", "int_value", "double_value"}
        value = getattr(a.value, which) if scalar else None
        yield a.key, value, partial(_text, a.value)


def _text(value: Any) -> str:
    return as_text(_plain(value))


def _plain(value: Any) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(v) for v in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
        case None:
            return ""
        case which:
            return getattr(value, which)
