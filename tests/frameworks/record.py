"""Records what a framework's program sends: `.venv/bin/python tests/frameworks/record.py pipecat 1.14.0`.

One request a line in OTLP's JSON, with the ids in hexadecimal, under `tests/golden/otlp/`; what the program injected
comes first.
"""

import gzip
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def otlp_json(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """Protobuf's JSON writes ids in base64, OTLP's in hexadecimal, and enumerations as numbers."""
    plain: dict[str, Any] = MessageToDict(request, use_integers_for_enums=True)
    for source, of_resource in zip(request.resource_spans, plain["resourceSpans"], strict=True):
        for scope, of_scope in zip(source.scope_spans, of_resource["scopeSpans"], strict=True):
            for span, written in zip(scope.spans, of_scope["spans"], strict=True):
                written["traceId"], written["spanId"] = span.trace_id.hex(), span.span_id.hex()
                if span.parent_span_id:
                    written["parentSpanId"] = span.parent_span_id.hex()
    return plain


def main(framework: str, version: str) -> None:
    requests: list[dict[str, Any]] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            requests.append(otlp_json(ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as sink:
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        python = ROOT / ".frameworks" / framework / "bin" / "python"
        program = [python, HERE / f"{framework}_call.py", f"http://127.0.0.1:{sink.server_port}/v1/traces"]
        environment = {**os.environ, "HOSTNAME": "unknown"}
        done = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True, env=environment, timeout=60)
        sink.shutdown()
    lines = [{"injected": json.loads(done.stdout)}, *requests]
    path = ROOT / "tests" / "golden" / "otlp" / f"{framework}-{version}.jsonl"
    path.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    for place, instead in ((str(ROOT), "/app"), (sys.base_prefix, "/usr")):  # stack traces name the machine's folders
        text = text.replace(place, instead)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
