"""turnlog on a Kafka of one's own: Apache's, in the clear and behind TLS, logins and rights."""

import asyncio
import json
import logging
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from deploy.brokers import kafka_environment
from deploy.embedded import Stack
from deploy.embedded.plan import PARTITIONS
from deploy.settings import Settings
from ingest.effects import Dead
from ingest.stream.intake import Intake
from ingest.stream.letters import DeadLetters
from ingest.stream.logs import RightMissing, create_topics
from ingest.stream.meters import Meters
from ingest.stream.plain import PlainAdapter, ReadingFailed
from ingest.stream.reading import Reading
from ingest.stream.worker import GROUP
from runtime.emit import Brokers, LogUnreachable
from runtime.emit.kafka import KafkaLog
from runtime.events import Topic
from tests.contract.apache import jars, part_of
from tests.contract.ground import until
from tests.contract.said import calls, faults
from tests.system.demo import TURNLOG, environment, turnlog
from tests.system.secured import PASSWORDS, Secured, secured


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """kafka-python talks of every attempt."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("kafka").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured(jars(request), tmp_path_factory.mktemp("kafka")) as running:
        yield running


# ── in the clear ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_demo_is_complete_on_a_kafka_that_knew_nothing_of_it(kafka: Secured, tmp_path: Path) -> None:
    """It makes the topics: their partitions, and the broker's time of arrival."""
    told = turnlog(tmp_path, "demo", "--calls", "6", "--json", **kafka_environment(kafka.server.address))
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)["report"]
    [runtime] = report["sources"]
    assert (runtime["calls"], runtime["complete"]) == (6, 6)
    assert runtime["sent"] == runtime["stored"] > 0
    with closing(KafkaAdminClient(**kafka.server.address.options())) as admin:
        assert {t["name"]: len(t["partitions"]) for t in admin.describe_topics(list(PARTITIONS))} == PARTITIONS
        calls_topic = ConfigResource(ConfigResourceType.TOPIC, Topic.CALLS.value)
        [configs] = admin.describe_configs([calls_topic])["topic"].values()
        assert configs["message.timestamp.type"]["value"] == "LogAppendTime"


# ── over TLS, with a login and the least of rights ────────────────────────────────────────────────────────────


@contextmanager
def worker(state: Path, brokers: Brokers, clickhouse: str, adapter: str) -> "Iterator[subprocess.Popen[str]]":
    """`turnlog worker`, which reads its login from its environment alone."""
    around = environment(state, CLICKHOUSE_URL=clickhouse, **kafka_environment(brokers))
    said = state / "worker.log"
    with (
        said.open("w") as log,
        subprocess.Popen([*TURNLOG, "worker", "--adapter", adapter], env=around, stderr=log, text=True) as process,
    ):
        try:
            until(lambda: "worker reads" in said.read_text(), "the worker is ready", said.read_text)
            yield process
            process.terminate()
            assert process.wait(30) == 0, said.read_text()
        finally:
            process.kill()


@pytest.mark.parametrize(("adapter", "mechanism"), [("plain", "SCRAM-SHA-512"), ("faust", "SCRAM-SHA-256")])
def test_what_is_said_over_tls_with_a_login_is_stored_with_no_right_to_spare(
    kafka: Secured, tmp_path: Path, adapter: str, mechanism: str
) -> None:
    said, words = calls(6), (tmp_path / "worker.log").read_text
    with (
        part_of(kafka.server) as part,
        Stack(Settings(tmp_path, kafka.server.address), lambda _: None, worker=False) as stack,
        worker(tmp_path, kafka.as_user("worker", mechanism), stack.addresses.clickhouse, adapter),
    ):
        log = KafkaLog(kafka.as_user("speaker", "PLAIN"))
        for key, value in said:
            log.append(Topic.CALLS, key, value)
        log.append(Topic.CALLS, "poison", b"no event")
        log.append(Topic.CONTENT, "call-1", b"words that are no event")
        assert log.close() == 0
        until(lambda: faults(stack.addresses.clickhouse, said) == [], "all is stored", words)
        until(lambda: len(part.records(Topic.DEAD_LETTERS)) == 2, "the poison is buried", words)
    assert not any(secret in words() for secret in PASSWORDS.values())


def test_the_bytes_of_a_dead_letter_want_a_right_of_their_own(kafka: Secured, tmp_path: Path) -> None:
    with part_of(kafka.server) as part:
        with closing(KafkaLog(part.address)) as log:
            dead = Dead(0, 5, "malformed", "", b"words")
            DeadLetters(log).bury(Topic.CALLS, "log", 0, [dead], time.time_ns() // 1000)
        support = kafka_environment(kafka.as_user("support"))
        listed = turnlog(tmp_path, "deadletter", "list", "--json", **support)
        assert listed.returncode == 0, listed.stderr
        [one] = json.loads(listed.stdout)["letters"]
        refused = turnlog(tmp_path, "deadletter", "show", one["key"], "--content", "--reader", "anna", **support)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert re.search("not see topic .turnlog.dlq.content.v1.: give it the right", " ".join(refused.stderr.split()))
        assert len(refused.stderr.strip().splitlines()) <= 3


def test_a_certificate_is_a_login_of_its_own(kafka: Secured) -> None:
    brokers = Brokers(kafka.at("SSL"), "SSL", ca_file=kafka.folder / "ca.pem", cert_file=kafka.folder / "operator.pem")
    with part_of(kafka.server) as part:
        log = KafkaLog(brokers)
        log.append(Topic.CALLS, "call-1", b"fact")
        assert log.close() == 0
        assert [r.value for r in part.records(Topic.CALLS)] == [b"fact"]


# ── and where one is not let in ───────────────────────────────────────────────────────────────────────────────


# Each way to be refused: how it differs from one that is let in, the listener, and words of the one line that is said.
LOGIN = ("'speaker'", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "KAFKA_SASL_MECHANISM")
REFUSALS = {
    "a wrong password": ({"password": "open barley"}, "SASL_SSL", LOGIN),
    "a wrong password, salted": ({"password": "open barley", "mechanism": "SCRAM-SHA-512"}, "SASL_SSL", LOGIN),
    "a login where certificates are wanted": ({"cert_file": "operator.pem"}, "SSL", LOGIN),
    "no login": ({"protocol": "SSL"}, "SASL_SSL", ("KAFKA_SECURITY_PROTOCOL", "login")),
    "an unknown authority": ({"ca_file": "other-ca.pem"}, "SASL_SSL", ("we do not trust", "KAFKA_SSL_CA_FILE")),
    "the clear, to TLS": ({"protocol": "PLAINTEXT"}, "SASL_SSL", ("wants TLS", "KAFKA_SECURITY_PROTOCOL to SSL or")),
    "a login in the clear, to TLS": ({"protocol": "SASL_PLAINTEXT"}, "SASL_SSL", ("wants TLS", "to SASL_SSL")),
    "TLS, to the clear": ({}, "PLAINTEXT", ("does not speak TLS", "KAFKA_SECURITY_PROTOCOL")),
    "no certificate": ({"protocol": "SSL"}, "SSL", ("refuses our certificate", "KAFKA_SSL_CERT_FILE")),
}


@pytest.mark.parametrize("way", REFUSALS)
def test_who_is_not_let_in_is_told_why_and_what_to_do_in_one_line(kafka: Secured, way: str) -> None:
    fields, listener, words = REFUSALS[way]
    files = {name: kafka.folder / file for name, file in fields.items() if name.endswith("_file")}
    brokers = replace(kafka.as_user("speaker"), servers=kafka.at(listener), **{**fields, **files})
    _refused(brokers, words)


def test_a_name_that_the_certificate_does_not_bear_is_not_trusted(kafka: Secured) -> None:
    by_name = kafka.at("SASL_SSL").replace("127.0.0.1", "localhost")
    _refused(replace(kafka.as_user("speaker"), servers=by_name), ("not valid for 'localhost'", "a name that it bears"))


def _refused(brokers: Brokers, words: Iterable[str]) -> None:
    with pytest.raises(LogUnreachable) as refused:
        KafkaLog(brokers, bootstrap_timeout_ms=500)
    told = str(refused.value)
    assert brokers.servers in told
    assert all(word in told for word in words), told
    assert not any(secret in told for secret in ("open barley", *PASSWORDS.values(), "\n"))


def test_the_command_line_says_it_too_without_a_traceback_or_a_secret(kafka: Secured, tmp_path: Path) -> None:
    brokers = replace(kafka.as_user("worker"), password="open barley")
    told = turnlog(tmp_path, "demo", "--calls", "1", **kafka_environment(brokers))
    assert (told.returncode, told.stdout) == (1, "")
    [line] = [line for line in told.stderr.splitlines() if line.startswith("turnlog: ")]
    assert "KAFKA_SASL_PASSWORD" in line
    assert "Traceback" not in told.stderr
    assert "open barley" not in told.stderr
    examined = turnlog(tmp_path, "doctor", **kafka_environment(brokers))
    assert examined.returncode == 1
    assert "KAFKA_SASL_PASSWORD" in examined.stdout
    assert "open barley" not in examined.stdout + examined.stderr


@pytest.mark.parametrize(
    ("user", "missing"),
    [
        (
            "stranger",
            [
                f"READ on topic {Topic.CALLS}",
                f"WRITE on topic {Topic.CALLS}",
                f"READ on topic {Topic.CONTENT}",
                f"READ on topic {Topic.CONTROL}",
                f"WRITE on topic {Topic.DEAD_CONTENT}",
                f"WRITE on topic {Topic.DEAD_LETTERS}",
                f"READ on topic {Topic.OUTCOMES}",
                f"READ on group {GROUP}",
            ],
        ),
        ("onlooker", [f"READ on group {GROUP}"]),
    ],
)
def test_a_worker_without_a_right_that_it_needs_ends_and_names_all_of_them(
    kafka: Secured, tmp_path: Path, user: str, missing: list[str]
) -> None:
    with part_of(kafka.server), Stack(Settings(tmp_path, kafka.server.address), lambda _: None, worker=False) as stack:
        around = kafka_environment(kafka.as_user(user)) | {"CLICKHOUSE_URL": stack.addresses.clickhouse}
        told = turnlog(tmp_path, "worker", **around)
    assert (told.returncode, told.stdout) == (1, "")
    [line] = [line for line in told.stderr.splitlines() if line.startswith("turnlog: ")]
    _, _, said = line.partition(f"user {user!r} lacks a right that the worker needs: grant ")
    assert sorted(said.split(", ")) == sorted(missing)
    assert "Traceback" not in told.stderr


async def test_the_plain_adapter_ends_when_a_right_is_taken_away_while_it_runs(kafka: Secured) -> None:
    """As if: it is let in without being asked for its rights."""
    meters = Meters()
    intake_of = partial(Intake, store=None, log_id=None, letters=None, meters=meters)
    with part_of(kafka.server):
        adapter = PlainAdapter(Reading(kafka.as_user("onlooker"), GROUP), meters)
        with pytest.raises(ReadingFailed, match="GroupAuthorizationFailed"):
            await adapter.run(intake_of, asyncio.Event())


def test_topics_that_our_login_may_not_create_are_one_error(kafka: Secured) -> None:
    with part_of(kafka.server), pytest.raises(RightMissing, match=r"'turnlog.more.v1'.*create"):
        create_topics(kafka.as_user("worker"), {Topic.CALLS: 4, "turnlog.more.v1": 1})
