"""Planted names and numbers, one in each channel where words can enter: found among the content and nowhere else.

"Nowhere" is every other topic and table, the dead letters' reasons, metrics, logs, what our commands print, and the
user's own exporter.
"""

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deploy.embedded import Addresses
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
from tests.system.demo import stack_up, turnlog
from tests.unit.told import SECOND, ToldCaller, ToldEars, ToldModel, ToldOutside, ToldVoice

PATIENCE_S = 60.0  # a deadline, never a measure
TENANT, CAMPAIGN = "acme", "canary"
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


def needles(canary: str) -> set[str]:
    """What to look for: the name, and the number as it stands, without blanks, and its last digits."""
    name, _, number = canary.partition(" ") if not canary[0].isdigit() else ("", "", canary)
    digits = number.replace(" ", "")
    return {n.lower() for n in (name, number, digits, digits[-7:]) if n}


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


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not so after {PATIENCE_S:g} s: {what}"
        time.sleep(0.1)


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


def read_metrics(stack: Addresses) -> str:
    (worker,) = [part.address for part in stack.parts if part.name == "worker"]
    with urllib.request.urlopen(worker, timeout=10) as answer:
        return str(answer.read().decode())


def read_commands(state: Path) -> dict[str, str]:
    asked: dict[str, list[str]] = {
        "list": ["call", "list", "--json"],
        "show": ["call", "show", "worst"],
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
        brokers, exporter = Brokers(stack.kafka), InMemorySpanExporter()
        log = kafka_log(brokers)
        asyncio.run(calls(log, exporter))
        other_writers(log)
        assert log.close() == 0
        for topic in (Topic.CALLS, Topic.CONTENT, Topic.OUTCOMES):
            until(lambda topic=topic: backlog(brokers, GROUP, topic) == 0, f"the worker has read {topic}")
        with closing(connect(stack.clickhouse)) as client:
            tables = read_tables(client)
        yield Places(
            {topic.value: read_topic(brokers, topic) for topic in Topic},
            tables,
            read_metrics(stack),
            {path.name: path.read_text(errors="replace") for path in (state / "logs").iterdir()},
            read_commands(state),
            "\n".join(span.to_json() for span in exporter.get_finished_spans()),
            read_spool(state / "spool of a producer"),
        )


def test_every_word_is_among_the_content(places: Places) -> None:
    """So that "nowhere else" means something."""
    said = set(CHANNELS) - NEVER_SAID - BURIED
    assert found_in(places.topics[Topic.CONTENT]) == said
    assert found_in(places.tables["content_log"]) == said
    assert found_in(places.topics[Topic.DEAD_CONTENT]) == BURIED


def test_no_other_topic_holds_one(places: Places) -> None:
    for topic in set(Topic) - {Topic.CONTENT, Topic.DEAD_CONTENT}:
        ours = found_in(places.topics[topic])
        # What was put on the calls topic in its place, by somebody else than us, lies there until it expires.
        assert ours == (BURIED if topic is Topic.CALLS else set()), topic
    assert places.topics[Topic.CALLS].count("CallStarted") >= 4
    assert "ComplaintFiled" in places.topics[Topic.OUTCOMES]
    assert places.topics[Topic.DEAD_LETTERS].count("sha256") == len(BURIED)


def test_no_other_table_holds_one(places: Places) -> None:
    words = {"content_log", "content"}
    for table, text in places.tables.items():
        assert table in words or found_in(text) == set(), table
    assert "ComplaintFiled" in places.tables["outcomes_log"]
    assert places.tables["calls_log"]


def test_no_metric_log_or_command_shows_one(places: Places) -> None:
    assert "turnlog_ingest_records_total" in places.metrics
    assert found_in(places.metrics) == set()
    for name, text in {**places.logs, **places.commands}.items():
        assert found_in(text) == set(), name
    assert places.commands["list"].count("call_id") >= 4


def test_the_user_s_own_exporter_gets_none(places: Places) -> None:
    assert places.exported.count('"name"') > 20
    assert found_in(places.exported) == set()


def test_a_spool_keeps_them_in_files_of_their_own(places: Places) -> None:
    words = {name: found_in(text) for name, text in places.spool.items() if name.startswith("words")}
    assert set().union(*words.values()) == set(CHANNELS) - NEVER_SAID - BURIED
    rest = {name: found_in(text) for name, text in places.spool.items() if name not in words}
    assert set().union(*rest.values()) == BURIED  # which were put on the calls topic
    assert any("CallStarted" in text for text in places.spool.values())
