"""OTLP's JSON. Ids are hexadecimal there and 64-bit numbers may be texts, so protobuf's own JSON does not read it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from ingest.door.attributes import Value
from ingest.door.raw import Pair, Raw, as_text, of_process

_ERROR = 2


class _Any(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: dict[str, Any] | None = None
    kvlist_value: dict[str, Any] | None = None


class _Pair(msgspec.Struct, gc=False):
    key: str = ""
    value: _Any | None = None


class _Status(msgspec.Struct, gc=False):
    code: int | str = 0
    message: str = ""


class _Event(msgspec.Struct, gc=False):
    name: str = ""
    attributes: list[_Pair] = []


class _Span(msgspec.Struct, rename="camel", gc=False):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_Pair] = []
    events: list[_Event] = []
    status: _Status = msgspec.field(default_factory=_Status)


class _Scope(msgspec.Struct, gc=False):
    name: str = ""


class _ScopeSpans(msgspec.Struct, gc=False):
    scope: _Scope = msgspec.field(default_factory=_Scope)
    spans: list[_Span] = []


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_Pair] = []


class _ResourceSpans(msgspec.Struct, rename="camel", gc=False):
    resource: _Resource = msgspec.field(default_factory=_Resource)
    scope_spans: list[_ScopeSpans] = []


class _Request(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[_ResourceSpans] = []


_DECODER = msgspec.json.Decoder(_Request)


def spans(data: bytes) -> Iterator[Raw]:
    """Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError, all before the first span."""
    return _spans(_DECODER.decode(data))


def _spans(request: _Request) -> Iterator[Raw]:
    for of_resource in request.resource_spans:
        about = of_process(_pairs(of_resource.resource.attributes))
        for of_scope in of_resource.scope_spans:
            for s in of_scope.spans:
                yield Raw(
                    *(_hex(s.trace_id), _hex(s.span_id), _hex(s.parent_span_id), of_scope.scope.name, s.name),
                    *(_whole(s.start_time_unix_nano) // 1000, _whole(s.end_time_unix_nano) // 1000),
                    _ERROR if s.status.code in {_ERROR, "STATUS_CODE_ERROR"} else 0,
                    *(s.status.message, _pairs(s.attributes)),
                    ((e.name, _pairs(e.attributes)) for e in s.events),
                    about,
                )


def _pairs(attributes: list[_Pair]) -> Iterator[Pair]:
    for a in attributes:
        v = a.value or _Any()
        if v.int_value is not None:
            value: Value = _whole(v.int_value)
        elif v.double_value is not None:
            value = _real(v.double_value)
        else:
            value = v.string_value if v.string_value is not None else v.bool_value
        yield (
            a.key,
            value,
            partial(_text, v, value),
        )


def _text(value: _Any, scalar: Value) -> str:
    return as_text(value.array_value or value.kvlist_value or (scalar if scalar is not None else value.bytes_value))


def _hex(text: str) -> str:
    try:
        return bytes.fromhex(text).hex()
    except ValueError:
        return ""


def _whole(number: int | str) -> int:
    try:
        return int(number)
    except ValueError:
        return 0


def _real(number: float | str) -> float | None:
    try:
        return float(number)
    except ValueError:
        return None
