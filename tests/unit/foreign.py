"""Makes foreign traces for tests of the door, and reads the recorded ones. Asserts nothing."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ingest.door.call import Envelope, Progress, tell
from ingest.door.otlp import read_json
from ingest.door.span import ForeignSpan
from runtime.events import Event

GOLDEN = Path(__file__).parents[1] / "golden" / "otlp"
NOW_US = 1_795_740_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
E = TypeVar("E", bound=Event)


def value(of: Any) -> dict[str, Any]:
    match of:
        case bool():
            return {"boolValue": of}
        case int():
            return {"intValue": str(of)}
        case float():
            return {"doubleValue": of if math.isfinite(of) else str(of)}
        case list():
            return {"arrayValue": {"values": [value(v) for v in of]}}
        case _:
            return {"stringValue": of}


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": k, "value": value(v)} for k, v in attributes.items()]


def span(
    name: str,
    start_ms: float,
    end_ms: float,
    attributes: dict[str, Any] | None = None,
    *,
    id: int,
    parent: int = 0,
    scope: str = "pipecat",
    trace: str = TRACE,
    events: Sequence[tuple[str, dict[str, Any]]] = (),
    error: str | None = None,
) -> tuple[str, dict[str, Any]]:
    """A span and its scope; times are from the beginning of the test's day."""
    made: dict[str, Any] = {
        "traceId": trace,
        "spanId": f"{id:016x}",
        "name": name,
        "startTimeUnixNano": str(int((NOW_US + start_ms * 1000) * 1000)),
        "endTimeUnixNano": str(int((NOW_US + end_ms * 1000) * 1000)),
        "attributes": pairs(attributes or {}),
        "events": [{"name": n, "attributes": pairs(a)} for n, a in events],
    }
    if parent:
        made["parentSpanId"] = f"{parent:016x}"
    if error is not None:
        made["status"] = {"code": 2, "message": error}
    return scope, made


def request(spans: Iterable[tuple[str, dict[str, Any]]], **resource: Any) -> dict[str, Any]:
    """An ExportTraceServiceRequest in OTLP's JSON."""
    scopes: dict[str, list[dict[str, Any]]] = {}
    for scope, made in spans:
        scopes.setdefault(scope, []).append(made)
    about = {name.replace("_", "."): v for name, v in resource.items()}
    of_scopes = [{"scope": {"name": scope}, "spans": made} for scope, made in scopes.items()]
    return {"resourceSpans": [{"resource": {"attributes": pairs(about)}, "scopeSpans": of_scopes}]}


def read(spans: Iterable[tuple[str, dict[str, Any]]], content: bool = False, **resource: Any) -> list[ForeignSpan]:
    taken = read_json(json.dumps(request(spans, **resource)).encode(), NOW_US, content)
    assert not taken.refused
    return taken.spans


def requests_at(name: str, now_us: int) -> list[dict[str, Any]]:
    """The recorded requests, moved in time so that the last span ends now."""
    requests = [json.loads(line) for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines()[1:]]
    spans = [s for r in requests for one in r["resourceSpans"] for c in one["scopeSpans"] for s in c["spans"]]
    by_ns = now_us * 1000 - max(int(s["endTimeUnixNano"]) for s in spans)
    for s in spans:
        for time in ("startTimeUnixNano", "endTimeUnixNano"):
            s[time] = str(int(s[time]) + by_ns)
    return requests


def recorded(name: str, content: bool = False) -> tuple[dict[str, Any], list[ForeignSpan]]:
    """What was injected, and the spans that came of it."""
    first, *requests = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
    spans: list[ForeignSpan] = []
    for line in requests:
        times = [
            int(s["endTimeUnixNano"])
            for r in json.loads(line)["resourceSpans"]
            for c in r["scopeSpans"]
            for s in c["spans"]
        ]
        taken = read_json(line.encode(), max(times) // 1000, content)
        assert not taken.refused
        spans += taken.spans
    return json.loads(first)["injected"], spans


def told(spans: Iterable[ForeignSpan], *tools: str) -> list[Event]:
    """What they tell, in the order of time."""
    return sorted(tell(spans, Progress(), Envelope(tools=frozenset(tools))), key=lambda e: e.at)


def of(events: Iterable[Event], kind: type[E]) -> list[E]:
    return [e for e in events if isinstance(e, kind)]
