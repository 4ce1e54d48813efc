"""What the door answers, in the encoding of the request: OTLP's success, partial success and google.rpc.Status."""

import json
from collections.abc import Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_REASONS = {
    "no_id": "without a valid trace id and span id",
    "no_time": "without a start before their end",
    "clock": "of a time that is 29 days behind or 50 minutes ahead of this machine's clock",
    "too_many": "beyond the limit of a request or a trace",
}


def success(refused: Mapping[str, int], kind: str) -> bytes:
    """All or a part of the spans was taken."""
    count = sum(refused.values())
    message = "; ".join(f"{n} spans {_REASONS[reason]}" for reason, n in sorted(refused.items()) if n)
    if kind == JSON:
        partial = {"partialSuccess": {"rejectedSpans": str(count), "errorMessage": message}} if count else {}
        return json.dumps(partial).encode()
    response = ExportTraceServiceResponse()
    if count:
        response.partial_success.rejected_spans = count
        response.partial_success.error_message = message
    return bytes(response.SerializeToString())


def failure(code: int, message: str, kind: str) -> bytes:
    """A google.rpc.Status; its two fields are written by hand, for the sake of a package less."""
    if kind == JSON:
        return json.dumps({"code": code, "message": message}).encode()
    text = message.encode()
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
