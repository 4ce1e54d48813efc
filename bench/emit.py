"""What saying a span costs the thread that says it: `python -m bench.emit [--json]`.

Median and p99 of one `Recorder.record(SpanEnded, …)`, which encodes, checks and hands over, with the broker up, stalled
(SIGSTOP) and dead; beside OpenTelemetry's BatchSpanProcessor on the same spans, as the time of its `on_end`, with an
OTLP exporter towards a sink that is up, stalled and dead. Both in one run, in turns; spans come at a steady pace, as
they do from calls. `floor` is the encoding and checking alone.
"""

import argparse
import gc
import logging
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from bench.otel import SINK
from deploy.embedded.child import answers, free_port
from deploy.embedded.plan import broker_argv
from ingest.stream.logs import create_topics
from runtime.emit import Brokers, Context, MemoryLog, Recorder, kafka_log
from runtime.events import SpanEnded, Topic, new_call_id
