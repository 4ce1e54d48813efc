"""Planted names and numbers, one in each channel where words can enter: found among the content and nowhere else.

"Nowhere" is every other topic and table, the dead letters' reasons, metrics, logs, what our commands print, and the
user's own exporter. The words come from calls of our own, from other writers, and through the door.
"""

import asyncio
import io
import json
import logging
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deploy.embedded import Addresses
from deploy.embedded.child import free_port
from ingest.query import Client, connect
from ingest.stream.logs import backlog
from ingest.stream.worker import GROUP
from runtime.emit import Brokers, Context, DurableLog, Recorder, kafka_log, say
from runtime.engine.desk import Ports
from runtime.engine.outside import Told
from runtime.errors import ProviderFailed
from runtime.events import (
    ComplaintFiled,
    ComplaintQuoted,
    DataGiven,
    DataUpdated,
    KeysPressed,
    Topic,
    lead_id,
    new_call_id,
)
from runtime.graph import Argument, library
from runtime.models import Ask, Delta, Stamps
from runtime.run import Run, run_call
from runtime.tracing import Tracing
from runtime.voice import Key
from tests.contract.ground import until
from tests.system.demo import TURNLOG, environment, posted, stack_up, turnlog
from tests.unit.foreign import NOW_US, pairs, request, span
from tests.unit.told import SECOND, ToldCaller, ToldEars, ToldModel, ToldOutside, ToldVoice

TENANT, CAMPAIGN, DOOR_CAMPAIGN = "acme", "canary", "canary-door"
TENANT_KEY = b"a key of the tenant's"

# Each canary is a name and a number that stand nowhere else in the repository.
CHANNELS = {
    "call parameter": "Quillfeather 0041 79 555 01 01",
    "fact of the agent": "Brambleworth 0041 79 555 01 02",
    "words of the caller": "Thistlewood 0041 79 555 01 03",
    "words of the agent": "Wimpolesey 0041 79 555 01 04",
    "tool argument": "Hartigrove 0041 79 555 01 05",
    "error of a tool": "Penhallowby 0041 79 555 01 06",
    "exception": "Dunsterville 0041 79 555 01 07",
    "error of a provider": "Osterwick 0041 79 555 01 08",
    "data update": "Fennimorely 0041 79 555 01 09",
    "keys": "0041795550110",
    "complaint": "Larkspurdon 0041 79 555 01 11",
    "poison": "Ravenscrofty 0041 79 555 01 12",
    "words on the wrong topic": "Mapplewhite 0041 79 555 01 13",
}
NEVER_SAID = {"call parameter"}  # it only makes the pseudonym of the lead
BURIED = {"poison", "words on the wrong topic"}  # no event: the bytes of a dead letter
SAID = set(CHANNELS) - NEVER_SAID - BURIED

# What comes through the door. By dialect: what it lets through as content, with the span and the attribute it is in.
LET_THROUGH = {
    "pipecat": {
        "what was heard": ("stt", "transcript"),
        "what was said": ("llm", "output"),
        "prompt": ("llm", "gen_ai.system_instructions"),
        "arguments of a tool": ("llm_tool_call", "tool.arguments"),
        "result of a tool": ("llm_tool_result", "tool.result"),
        "room": ("conversation", "conversation.id"),
        "participant": ("stt", "user_id"),
        "telephone": ("conversation", "sip.phoneNumber"),
    },
    "livekit": {
        "what was heard": ("user_turn", "lk.pii.user_transcript"),
        "what was said": ("agent_turn", "lk.response.text"),
        "prompt": ("llm_node", "lk.instructions"),
        "arguments of a tool": ("function_tool", "lk.pii.function_tool.arguments"),
        "result of a tool": ("function_tool", "lk.function_tool.output"),
        "room": ("agent_session", "lk.room_name"),
        "participant": ("agent_session", "lk.participant_identity"),
        "telephone": ("agent_session", "lk.sip.phoneNumber"),
        "name of a tool": ("function_tool", "lk.function_tool.name"),  # none that may be told: it is in the arguments'
    },
}
ERRORS = ("message of an exception", "stack trace of an exception", "message of a status")  # let through as well
# What it drops, of both dialects: what nobody thought of, and what has no place for words.
DROPPED = (
    *("unknown attribute", "name of an attribute", "attribute of the process", "name of the service"),
    *("name of a span", "name of an event", "unknown attribute of an event", "name of a scope", "link", "trace state"),
    *("model", "provider", "lead", "campaign", "close reason", "span without an id"),
)
# What a request holds that is no trace.
REFUSED = ("body", "address", "header", "no HTTP")
FOREIGN_SAID = {f"{dialect}, {what}" for dialect, at in LET_THROUGH.items() for what in (*at, *ERRORS)}
FOREIGN_DROPPED = {f"{dialect}, {what}" for dialect in LET_THROUGH for what in DROPPED}
FOREIGN_DROPPED |= {f"request, {what}" for what in REFUSED}
for number, channel in enumerate(sorted(FOREIGN_SAID | FOREIGN_DROPPED)):
    letters = "".join(chr(ord("a") + n) for n in divmod(number, 26))
    CHANNELS[channel] = f"Sallowmere{letters} 0041 79 555 02 {number:02}"


def needles(canary: str) -> set[str]:
    """What to look for: the name, and the number as it stands, without blanks, and without its country.

    Fewer digits would be found in moments and durations, by chance.
    """
    name, _, number = canary.partition(" ") if not canary[0].isdigit() else ("", "", canary)
    digits = number.replace(" ", "")
    return {n.lower() for n in (name, number, digits, digits[-9:]) if n}


NEEDLES = {channel: needles(canary) for channel, canary in CHANNELS.items()}


def found_in(text: str) -> set[str]:
    """The channels whose canary is in the text."""
    low = text.lower()
    return {channel for channel, wanted in NEEDLES.items() if any(n in low for n in wanted)}


# ── the calls ─────────────────────────────────────────────────────────────────────────────────────────────


class QuotingModel(ToldModel):
    def complete(self, _ask: Ask, _clock: Stamps) -> AsyncIterator[Delta]:
        raise ProviderFailed("told", "BadRequestError 400", f"flagged: {CHANNELS['error of a provider']!r}")


@dataclass
class FailingOutside(ToldOutside):
    error: Exception

    async def ask(self, _name: str, _values: object, _at_us: int, _key: Key) -> Told:
        raise self.error


BOOK = [
    ("identity_confirmed", "{}"),
    ("wants_appointment", json.dumps({"reason": "check-up", "name": CHANNELS["tool argument"]})),
    ("slot_chosen", '{"day": "Monday", "time": "morning"}'),
]


async def calls(log: DurableLog, exporter: InMemorySpanExporter) -> None:
    agent = library("appointments")
    wants = agent.tools["wants_appointment"]
    wants = msgspec.structs.replace(wants, arguments={**wants.arguments, "name": Argument()})
    agent = msgspec.structs.replace(
        agent,
        facts={**agent.facts, "clinic": CHANNELS["fact of the agent"]},
        tools={**agent.tools, "wants_appointment": wants},
    )
    start_us = time.time_ns() // 1000 - 60 * SECOND
    run = Run(
        agent,
        TENANT,
        CAMPAIGN,
        start_us=lambda _: start_us,
        lead=lambda _: lead_id(TENANT_KEY, CHANNELS["call parameter"]),
    )
    tracing = Tracing(SimpleSpanProcessor(exporter))
    caller = ToldCaller(words=f"Yes, it is {CHANNELS['words of the caller']}.")
    told = ToldOutside()

    async def call(number: int, model: ToldModel, outside: ToldOutside = told) -> None:
        await run_call(run, Ports(model, ToldEars(), ToldVoice(), outside, tracing), log, number, caller=caller)

    await call(
        0, ToldModel([*BOOK, ("opt_out", "{}")], answer=f"Hello {CHANNELS['words of the agent']}. What can I do?")
    )
    await call(1, ToldModel(list(BOOK)), FailingOutside(ProviderFailed("calendar", "409", CHANNELS["error of a tool"])))
    await call(2, ToldModel(list(BOOK)), FailingOutside(RuntimeError(f"no such patient: {CHANNELS['exception']}")))
    await call(3, QuotingModel([]))
    tracing.close()


def other_writers(log: DurableLog) -> None:
    """What other writers say about a call, and what is no event at all."""
    now_us = time.time_ns() // 1000
    call, lead = new_call_id(now_us), lead_id(TENANT_KEY, CHANNELS["call parameter"])
    recorder = Recorder(log, Context(call, TENANT, CAMPAIGN, "appointments", lead=lead), "runtime")
    recorder.record(DataUpdated, now_us, turn=1, field="callback")
    recorder.record(DataGiven, now_us, turn=1, field="callback", value=CHANNELS["data update"])
    recorder.record(KeysPressed, now_us, turn=1, keys=CHANNELS["keys"])
    recorder.record(ComplaintQuoted, now_us, text=CHANNELS["complaint"])
    recorder.close(now_us)
    filed = {"campaign": CAMPAIGN, "lead": lead, "channel": "letter", "call": call}
    say(log, TENANT, "complaint 17", ComplaintFiled, source="desk", at=now_us, **filed)
    log.append(Topic.CALLS, call, f'{{"type": "CallStarted", "oops": "{CHANNELS["poison"]}"}}'.encode())
    words = {"type": "WordsHeard", "stream": call, "source": "x", "seq": 0, "at": now_us, "v": 1, "tenant": TENANT}
    words |= {"campaign": CAMPAIGN, "turn": 1, "text": CHANNELS["words on the wrong topic"]}
    log.append(Topic.CALLS, call, json.dumps(words).encode())


# ── through the door ──────────────────────────────────────────────────────────────────────────────────────────

SCOPES = {"pipecat": "pipecat", "livekit": "livekit-agents"}
FIGURES: dict[str, dict[str, Any]] = {
    "turn": {"turn.number": 1, "turn.user_bot_latency_seconds": 0.9},
    **{name: {"metrics.ttfb": 0.2} for name in ("stt", "llm", "tts")},
    "user_turn": {"lk.end_of_turn_delay": 0.5, "lk.transcription_delay": 0.3},
}
# The spans of a call, each with the one that it is part of.
PARTS: dict[str, dict[str, str]] = {
    "pipecat": {
        "conversation": "",
        "turn": "conversation",
        **dict.fromkeys(("stt", "llm", "llm_tool_call", "llm_tool_result", "tts"), "turn"),
    },
    "livekit": {
        "agent_session": "",
        "user_turn": "agent_session",
        "agent_turn": "agent_session",
        **dict.fromkeys(("llm_node", "function_tool", "tts_node"), "agent_turn"),
    },
}
FAILS = {"llm", "function_tool"}


def trace_of(dialect: str, number: int) -> dict[str, Any]:
    """A call of that dialect, a minute ago, with a canary wherever a span takes a text."""
    planted = {what: CHANNELS[f"{dialect}, {what}"] for what in (*LET_THROUGH[dialect], *ERRORS, *DROPPED)}
    planted["name of a tool"] = planted.get("name of a tool", "").partition(" ")[0]  # of one word, as such names are
    planted["provider"] = "".join(planted["provider"].split()[1:])  # a number alone: a name without blanks would pass
    ago_ms = (time.time_ns() // 1000 - 60 * SECOND - NOW_US) / 1000
    words: dict[str, dict[str, Any]] = {}
    for what, (name, attribute) in LET_THROUGH[dialect].items():
        words.setdefault(name, {})[attribute] = planted[what]
    everywhere = {
        "settings.prompt": planted["unknown attribute"],
        f"caller {planted['name of an attribute']}": 1,
        "gen_ai.request.model": planted["model"],
        "gen_ai.provider.name": planted["provider"],
        "turnlog.lead": planted["lead"],
        "turnlog.campaign": planted["campaign"],
        "lk.close_reason": planted["close reason"],
    }
    wrong = {
        "exception.message": planted["message of an exception"],
        "exception.stacktrace": f'File "x.py", line 1\n{planted["stack trace of an exception"]}',
        "exception.about": planted["unknown attribute of an event"],
    }
    failed: dict[str, Any] = {
        "events": [("exception", wrong), (planted["name of an event"], {})],
        "error": planted["message of a status"],
    }
    of_trace: dict[str, Any] = {"trace": f"{number:032x}"}
    here: dict[str, Any] = {"scope": SCOPES[dialect], **of_trace}

    def made(name: str, start_ms: float, end_ms: float, id: int, parent: int, **more: Any) -> tuple[str, Any]:
        attributes = {**everywhere, **FIGURES.get(name, {}), **words.get(name, {})}
        return span(name, ago_ms + start_ms, ago_ms + end_ms, attributes, id=id, parent=parent, **here, **more)

    ids = {name: id for id, name in enumerate(PARTS[dialect], 1)}
    spans = []
    for name, whole in PARTS[dialect].items():
        start_ms, end_ms = (500 * ids[name], 500 * ids[name] + 400) if whole else (0, 9_000)
        more = failed if name in FAILS else {}
        spans.append(made(name, start_ms, end_ms, ids[name], ids.get(whole, 0), **more))
    spans.append(made(f"ask {planted['name of a span']}", 100, 200, 20, 1))
    other = {"gen_ai.operation.name": "chat", "gen_ai.system": planted["provider"]}
    spans.append(
        span("chat", ago_ms, ago_ms + 90, other, id=21, parent=1, scope=planted["name of a scope"], **of_trace)
    )
    refused = {"transcript": planted["span without an id"], "lk.user_transcript": planted["span without an id"]}
    spans.append(span("stt", ago_ms, ago_ms + 90, refused, id=0, parent=1, **here))
    for _, one in spans:
        one["traceState"] = f"caller={planted['trace state']}"
        one["links"] = [{"traceId": f"{99:032x}", "spanId": f"{99:016x}", "attributes": pairs({"of": planted["link"]})}]
    process = {"service_name": planted["name of the service"], "process_owner": planted["attribute of the process"]}
    return request(spans, **process)


@dataclass(frozen=True)
class Door:
    """What a door shows, and what it keeps."""

    metrics: str
    printed: str
    answers: Mapping[str, str]
    journal: str
    modes: Mapping[str, int]


def through_the_door(state: Path, store: Client) -> Door:
    """A door of its own, a trace of each dialect and some requests that are none, until all of it is told."""
    port, metrics_port, printed = free_port(), free_port(), state / "output of the door"
    options = ["--port", str(port), "--metrics-port", str(metrics_port), "--settle", "0.5", "--content"]
    options += ["--tenant", TENANT, "--campaign", DOOR_CAMPAIGN]
    with printed.open("wb") as file:
        process = subprocess.Popen(
            [*TURNLOG, "door", *options], env=environment(state), stdout=file, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: process.poll() is not None or "door at" in printed.read_text(), "the door is open")
        assert process.poll() is None, printed.read_text()
        answers = {}
        for number, dialect in enumerate(LET_THROUGH, 1):
            status, answers[dialect] = posted(port, json.dumps(trace_of(dialect, number)))
            assert status == 200
            assert "1 spans without a valid trace id" in answers[dialect]
        status, answers["body"] = posted(port, f'{{"resourceSpans": "{CHANNELS["request, body"]}"}}')
        assert status == 400
        address = CHANNELS["request, address"].replace(" ", "%20")
        status, answers["address"] = posted(port, "{}", f"/v1/{address}?of={address}")
        assert status == 404
        status, answers["header"] = posted(port, "{}", **{"Content-Encoding": CHANNELS["request, header"]})
        assert status == 415
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            # A sender that does not speak HTTP well gets its own words back; nobody else may.
            wire.sendall(
                f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nOf {CHANNELS['request, no HTTP']}: x\r\n\r\n".encode()
            )
            assert b" 400 " in wire.recv(65_536).splitlines()[0]
        told = f"SELECT count() FROM calls WHERE campaign = '{DOOR_CAMPAIGN}' AND ended_at IS NOT NULL"
        until(lambda: store.query(told).result_rows == [(len(LET_THROUGH),)], "the door's calls are in the tables")
        metrics = read_url(f"http://127.0.0.1:{metrics_port}/metrics")
        journal = (state / "door" / "door.journal").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    modes = {path.name: path.stat().st_mode & 0o777 for path in [state / "door", *(state / "door").iterdir()]}
    return Door(metrics, printed.read_text(), answers, journal, modes)


# ── where they may be, and where not ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Places:
    """What every place holds, as text, after the calls: topics and tables by name."""

    topics: Mapping[str, str]
    tables: Mapping[str, str]
    metrics: str
    logs: Mapping[str, str]
    commands: Mapping[str, str]
    exported: str
    spool: Mapping[str, str]
    door: Door


@dataclass
class Heard:
    """What a process that makes calls logs, at INFO or above, and what it prints."""

    logged: io.StringIO = field(default_factory=io.StringIO)
    printed: io.StringIO = field(default_factory=io.StringIO)

    @contextmanager
    def listening(self) -> Iterator[None]:
        root, handler = logging.getLogger(), logging.StreamHandler(self.logged)
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            with redirect_stdout(self.printed), redirect_stderr(self.printed):
                yield
        finally:
            root.setLevel(level)
            root.removeHandler(handler)


def read_topic(brokers: Brokers, topic: Topic) -> str:
    """Keys, values and headers of all its records."""
    with closing(KafkaConsumer(**brokers.options(), consumer_timeout_ms=3_000)) as consumer:
        partitions = [TopicPartition(topic.value, n) for n in consumer.partitions_for_topic(topic.value) or ()]
        assert partitions, topic
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        return "\n".join(f"{r.key!r} {(r.value or b'').decode(errors='replace')} {r.headers!r}" for r in consumer)


def read_tables(client: Client) -> dict[str, str]:
    names = [
        row[0] for row in client.query("SELECT name FROM system.tables WHERE database = currentDatabase()").result_rows
    ]
    assert {"events_log", "content_log", "outcomes_log", "calls_log"} <= set(names)
    return {
        name: client.raw_query(f"SELECT * FROM {name}", fmt="JSONEachRow").decode(errors="replace") for name in names
    }


def read_url(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def read_metrics(stack: Addresses) -> str:
    (worker,) = [part.address for part in stack.parts if part.name == "worker"]
    return read_url(worker)


def read_commands(state: Path, foreign: str) -> dict[str, str]:
    asked: dict[str, list[str]] = {
        "list": ["call", "list", "--json"],
        "show": ["call", "show", "worst"],
        "show foreign": ["call", "show", foreign],
        "doctor": ["doctor", "--json"],
        "sql": ["sql", "SELECT * FROM events", "--format", "json"],
    }
    told = {name: turnlog(state, *arguments) for name, arguments in asked.items()}
    return {name: done.stdout + done.stderr for name, done in told.items()}


def read_spool(folder: Path) -> dict[str, str]:
    """What lies on disk while no broker answers."""
    log = kafka_log(Brokers("127.0.0.1:9"), spool=folder, answering=False)
    asyncio.run(calls(log, InMemorySpanExporter()))
    other_writers(log)
    log.close(1.0)
    return {path.name: path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    state = tmp_path_factory.mktemp("canary")
    with stack_up(state) as stack:
        brokers, exporter, heard = Brokers(stack.kafka), InMemorySpanExporter(), Heard()
        with heard.listening():
            log = kafka_log(brokers)
            asyncio.run(calls(log, exporter))
            other_writers(log)
            assert log.close() == 0
            spool = read_spool(state / "spool of a producer")
        with closing(connect(stack.clickhouse)) as client:
            door = through_the_door(state, client)
            for topic in (Topic.CALLS, Topic.CONTENT, Topic.OUTCOMES):
                until(lambda topic=topic: backlog(brokers, GROUP, topic) == 0, f"the worker has read {topic}")
            tables = read_tables(client)
            asked = f"SELECT toString(max(call_id)) FROM calls WHERE campaign = '{DOOR_CAMPAIGN}'"
            foreign = client.query(asked).result_rows[0][0]
        logs = {path.name: path.read_text(errors="replace") for path in (state / "logs").iterdir()}
        yield Places(
            {topic.value: read_topic(brokers, topic) for topic in Topic},
            tables,
            read_metrics(stack),
            {**logs, "ours": heard.logged.getvalue(), "our output": heard.printed.getvalue(), "door": door.printed},
            read_commands(state, foreign),
            "\n".join(span.to_json() for span in exporter.get_finished_spans()),
            spool,
            door,
        )


def test_every_word_is_among_the_content(places: Places) -> None:
    """So that "nowhere else" means something."""
    assert found_in(places.topics[Topic.CONTENT]) == SAID | FOREIGN_SAID
    assert found_in(places.tables["content_log"]) == SAID | FOREIGN_SAID
    assert found_in(places.topics[Topic.DEAD_CONTENT]) == BURIED


def test_no_other_topic_holds_one(places: Places) -> None:
    for topic in set(Topic) - {Topic.CONTENT, Topic.DEAD_CONTENT}:
        ours = found_in(places.topics[topic])
        # What was put on the calls topic in its place, by somebody else than us, lies there until it expires.
        assert ours == (BURIED if topic is Topic.CALLS else set()), topic
    assert places.topics[Topic.CALLS].count("CallStarted") >= 4 + len(LET_THROUGH)
    assert "ComplaintFiled" in places.topics[Topic.OUTCOMES]
    assert places.topics[Topic.DEAD_LETTERS].count("sha256") == len(BURIED)


def test_no_other_table_holds_one(places: Places) -> None:
    words = {"content_log", "content"}
    for table, text in places.tables.items():
        assert table in words or found_in(text) == set(), table
    assert "ComplaintFiled" in places.tables["outcomes_log"]
    assert places.tables["calls_log"].count(DOOR_CAMPAIGN) >= len(LET_THROUGH)


def test_no_metric_log_or_command_shows_one(places: Places) -> None:
    assert "turnlog_ingest_records_total" in places.metrics
    assert found_in(places.metrics) == set()
    for name, text in {**places.logs, **places.commands}.items():
        assert found_in(text) == set(), name
    assert places.commands["list"].count("call_id") >= 4 + len(LET_THROUGH)
    assert places.logs["ours"].count("a call ended by RuntimeError") >= 2  # with a broker, and into a spool


def test_the_door_shows_none_and_keeps_those_it_lets_through_for_its_owner(places: Places) -> None:
    assert "turnlog_door_dropped_total" in places.door.metrics
    assert "a request failed with" in places.door.printed  # the type of the error, and no word of the request
    assert found_in(places.door.metrics) == set()
    assert {name: found_in(text) for name, text in places.door.answers.items() if found_in(text)} == {}
    # It has read them all: what it drops is gone before anything is written.
    assert found_in(places.door.journal) >= FOREIGN_SAID
    assert found_in(places.door.journal) & FOREIGN_DROPPED == set()
    assert "door.journal" in places.door.modes
    assert places.door.modes == {name: 0o700 if name == "door" else 0o600 for name in places.door.modes}


def test_the_user_s_own_exporter_gets_none(places: Places) -> None:
    assert places.exported.count('"name"') > 20
    assert found_in(places.exported) == set()


def test_a_spool_keeps_them_in_files_of_their_own(places: Places) -> None:
    words = {name: found_in(text) for name, text in places.spool.items() if name.startswith("words")}
    assert set().union(*words.values()) == SAID
    rest = {name: found_in(text) for name, text in places.spool.items() if name not in words}
    assert set().union(*rest.values()) == BURIED  # which were put on the calls topic
    assert any("CallStarted" in text for text in places.spool.values())
