"""Who may do what in the embedded store: writers all, readers the views, content readers words and never in silence."""

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import clickhouse_connect
import pytest

from deploy.brokers import kafka_environment
from deploy.embedded.child import answers, free_port
from ingest import query
from ingest.errors import StoreRefused
from ingest.store.credentials import Role, kept
from ingest.store.limits import MEMORY_BYTES_MAX
from ingest.store.migrate import migrate
from ingest.store.writer import Writer
from ingest.tables import Log
from runtime.emit import Brokers
from runtime.events import Topic
from tests.contract.ground import until
from tests.contract.hostile import HOSTILE, SINGLE
from tests.contract.kafka_broker import embedded_broker

SECRET = "the-words-of-a-file"
SPOKEN = "my card is four two four two"
REFUSED = {62, 164, 497}  # no SQL, not a reader's to set, not a reader's to ask


@dataclass(frozen=True)
class House:
    """A store with a call and its words; a file, a listener and a path that nobody may reach through it."""

    writer: str
    reader: str
    folder: Path
    secret: Path
    out: Path
    port: int
    met: list[object]

    def content(self, who: str = "content") -> str:
        return kept(self.folder).url(Role.CONTENT, self.reader).replace("//content:", f"//{who}:")

    def written(self, sql: str) -> str:
        return sql.format(secret=self.secret, out=self.out, port=self.port)


@pytest.fixture(scope="module")
def house(spawn, arrow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("readers")
    (folder / "secret.txt").write_text(SECRET)
    met: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, spawn(folder / "db") as store:
        threading.Thread(target=_meet, args=(listener, met), daemon=True).start()
        with closing(query.connect(store.url)) as client:
            migrate(client)
            Writer(client).insert(Log.EVENTS, arrow(Log.EVENTS, {}))
            said = {"type": "WordsHeard", "source": "runtime.words", "payload": json.dumps({"turn": 3, "text": SPOKEN})}
            Writer(client).insert(Log.CONTENT, arrow(Log.CONTENT, said))
        parts = urllib.parse.urlsplit(store.url)
        plain = f"http://{parts.hostname}:{parts.port}"
        port = listener.getsockname()[1]
        yield House(store.url, plain, folder / "db", folder / "secret.txt", folder / "out", port, met)


def _meet(listener: socket.socket, met: list[object]) -> None:
    while True:
        try:
            connection, who = listener.accept()
        except OSError:
            return
        met.append(who)
        connection.close()


def asked(url: str, sql: str, **settings: str) -> tuple[int, int, bytes]:
    """Status, ClickHouse's code or 0, and the body, as curl gets them with the URL's user."""
    parts = urllib.parse.urlsplit(url)
    address = f"http://{parts.hostname}:{parts.port}/?{urllib.parse.urlencode(settings)}"
    request = urllib.request.Request(address, data=sql.encode())
    if parts.username:
        key = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {key}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, 0, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, int(error.headers["X-ClickHouse-Exception-Code"]), error.read()


def everything(url: str) -> list[tuple[object, ...]]:
    """What a writer could have changed."""
    with closing(query.connect(url)) as client:
        tables = client.query(
            "SELECT database, name, uuid, total_rows, comment FROM system.tables"
            " WHERE database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA') ORDER BY ALL"
        ).result_rows
        functions = client.query("SELECT name FROM system.functions WHERE origin != 'System' ORDER BY 1").result_rows
        return [*tables, *functions]


def test_no_hostile_statement_gets_or_changes_anything(house: House) -> None:
    before = everything(house.writer)
    passed = []
    for sql in HOSTILE:
        status, code, body = asked(house.reader, house.written(sql), param_t="content_log")
        assert SECRET.encode() not in body
        assert SPOKEN.encode() not in body
        if status == 200 or code not in REFUSED:
            passed.append((sql, status, code, body[:200]))
    assert passed == []
    assert len(SINGLE) > 120
    assert everything(house.writer) == before
    assert not house.out.exists()
    assert house.met == []
    assert asked(house.reader, "SELECT 1")[2] == b"1\n"


@pytest.mark.parametrize(
    "setting",
    [
        *("readonly=0", "readonly=2", "max_memory_usage=99999999999", "max_execution_time=0", "max_threads=64"),
        "max_result_bytes=0",
    ],
)
def test_a_bound_may_only_get_tighter(house: House, setting: str) -> None:
    name, value = setting.split("=")
    sql = f"SELECT name, value FROM system.settings WHERE name = '{name}' AND (SELECT count() FROM calls) = 0"
    status, _, body = asked(house.reader, sql, **{name: value})
    assert status == 200
    now = int(float(body.decode().split("\t")[1]))
    assert (
        now
        == {
            "readonly": 1,
            "max_memory_usage": MEMORY_BYTES_MAX,
            "max_execution_time": 600,
            "max_threads": 2,
            "max_result_bytes": 512 * 2**20,
        }[name]
    )


@pytest.mark.parametrize(
    "name",
    [
        *("format_schema", "format_template_row", "additional_table_filters", "allow_introspection_functions"),
        *("additional_result_filter", "max_server_memory_usage", "s3_max_connections", "log_queries", "priority"),
        *("user_files_path", "query_cache_share_between_users", "use_query_cache", "result_overflow_mode"),
    ],
)
def test_other_settings_are_not_for_readers(house: House, name: str) -> None:
    assert asked(house.reader, "SELECT 1", **{name: "1"})[1] == 164


def test_a_reader_has_one_database_and_no_form_that_reads_a_template(house: House) -> None:
    assert asked(house.reader, "SELECT * FROM tables", database="system")[1] == 497
    assert asked(house.reader, "SELECT 1", default_format="Template")[1] == 497
    assert asked(house.reader, "SELECT 1", default_format="JSONEachRow")[2] == b'{"1":1}\n'


def test_a_question_that_eats_memory_or_time_ends_alone(house: House) -> None:
    hungry = "SELECT groupArray(number) FROM numbers(1000000000)"
    assert asked(house.reader, hungry, max_memory_usage="50000000")[1] == 241
    assert asked(house.reader, "SELECT count() FROM numbers(1000000000000)", max_execution_time="1")[1] == 159
    assert asked(house.reader, "SELECT 1")[2] == b"1\n"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM events",
        "WITH calls AS (SELECT * FROM calls) SELECT count() FROM calls",
        "WITH x AS (SELECT call_id FROM calls), y AS (SELECT * FROM x) SELECT count() FROM y WHERE call_id IN x",
        "SELECT quantile_us(sumMap(buckets), 0.9) FROM latency_1m",
        "SELECT uniqExactIf(call_id, turn > 1), quantileExactIf(0.9)(latency_us, turn > 1) FROM turns",
        "SELECT arrayJoin([1, 2]) AS a, sum(a) OVER (ORDER BY a ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
        "SELECT variants['a'], v FROM events ARRAY JOIN mapKeys(variants) AS v",
        "SELECT toStartOfInterval(at, INTERVAL 5 MINUTE) AS t, count() FROM turns GROUP BY t ORDER BY t WITH FILL",
        "SELECT JSONExtractString(payload, 'node') FROM events WHERE type = 'NodeEntered' -- 'content_log'",
        "SELECT 'SELECT * FROM content_log; DROP TABLE x INTO OUTFILE'",
        "SELECT CAST(1, 'Nullable(UInt8)'), 1::String, CASE turn WHEN 1 THEN 'a' ELSE 'b' END FROM turns",
        "SELECT * EXCEPT (day) FROM turns LIMIT 1 BY call_id",
        "SELECT * FROM system.columns WHERE table = 'content_log'",
        "SELECT name FROM system.tables WHERE name LIKE '%_log'",
        "EXPLAIN indexes = 1 SELECT count() FROM calls",
        "SHOW CREATE VIEW calls",
        "EXISTS VIEW calls",
        "SELECT n FROM generateSeries(1, 3) AS g(n)",
    ],
)
def test_what_people_ask_is_answered(house: House, sql: str) -> None:
    status, _, body = asked(house.reader, sql)
    assert status == 200 or b"g(n)" in sql.encode(), body
    assert b"content_log" not in body or "'SELECT" in sql


def test_the_drivers_work_for_readers(house: House) -> None:
    parts = urllib.parse.urlsplit(house.reader)
    with closing(clickhouse_connect.get_client(host=parts.hostname, port=parts.port)) as client:  # in a session
        assert client.query("SELECT count() FROM events").result_rows == [(1,)]
        assert client.query_arrow("SELECT call_id FROM events").num_rows == 1
        values = {"a": ["x'\n", "\\"]}
        bound = client.query("SELECT {a:Array(String)}", parameters=values, settings={"max_block_size": 9})
        assert bound.result_rows == [(["x'\n", "\\"],)]
        assert client.command("SELECT currentDatabase()") == "default"
    with closing(query.connect(house.reader)) as client, pytest.raises(StoreRefused) as refused:
        migrate(client)
    assert refused.value.code == 497


@pytest.mark.parametrize(
    "user", ["writer:", "writer:wrong", "content:wrong", "default:x", "admin:x", "reader:x", "writer.x:{}"]
)
def test_a_wrong_key_is_refused_and_not_repeated(house: House, user: str) -> None:
    key = urllib.parse.urlsplit(house.writer).password
    url = house.reader.replace("//", f"//{user.format(key)}@")
    status, code, body = asked(url, "SELECT 1")
    assert (status, code) == (403, 516)
    assert b"wrong" not in body


def test_keys_may_come_in_the_three_ways_of_clickhouse(house: House) -> None:
    key = urllib.parse.urlsplit(house.writer).password or ""
    sql = "SELECT count() FROM events_log"
    assert asked(house.writer, sql)[0] == 200
    assert asked(house.reader, sql, user="writer", password=key)[0] == 200
    headers = {"X-ClickHouse-User": "writer", "X-ClickHouse-Key": key}
    with urllib.request.urlopen(urllib.request.Request(house.reader, sql.encode(), headers)) as answer:
        assert answer.status == 200


def test_a_writer_that_asks_to_change_nothing_is_a_reader(house: House) -> None:
    assert asked(house.writer, "SELECT 1 INTO OUTFILE '/tmp/x'", readonly="1")[1] == 497


def test_other_accounts_find_closed_doors(house: House) -> None:
    assert house.folder.stat().st_mode & 0o077 == 0
    assert (house.folder / "credentials.json").stat().st_mode & 0o077 == 0
    line = Path("/proc/self/cmdline").read_text()
    assert all(key not in line for key in kept(house.folder).keys.values())
    os.chmod(house.folder / "credentials.json", 0o644)
    kept(house.folder)
    assert (house.folder / "credentials.json").stat().st_mode & 0o077 == 0


def test_words_are_not_read_where_no_brokers_hear_of_it(house: House) -> None:
    for sql in ("SELECT text FROM content", "SELECT count() FROM content", "EXPLAIN SELECT * FROM content"):
        status, code, body = asked(house.content(), sql)
        assert (status, code) == (403, 497)
        assert b"KAFKA_BOOTSTRAP_SERVERS" in body
    assert asked(house.content(), "SELECT count() FROM events")[2] == b"1\n"
    assert asked(house.content(), "SELECT * FROM content_log")[1] == 497


def test_whoever_reads_words_is_named_on_the_control_topic_before_the_rows_come(arrow, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with embedded_broker() as broker:
        argv = [sys.executable, "-m", "deploy", "store", "--path", str(tmp_path / "db"), "--port", str(port)]
        around = os.environ | kafka_environment(Brokers(broker.servers)) | {"TURNLOG_STATE": str(tmp_path)}
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(argv, env=around, stderr=log) as process:
            try:
                until(lambda: answers(port), "the store listens", (tmp_path / "log").read_text)
                keys = kept(tmp_path / "db")
                with closing(query.connect(keys.url(Role.WRITER, url))) as client:
                    migrate(client)
                    said = {"type": "WordsHeard", "payload": json.dumps({"turn": 3, "text": SPOKEN})}
                    Writer(client).insert(Log.CONTENT, arrow(Log.CONTENT, said))
                auditor = keys.url(Role.CONTENT, url).replace("content:", "content.auditor:")
                sql = "SELECT turn, text FROM content FORMAT JSONCompactEachRow"
                assert json.loads(asked(auditor, sql)[2]) == [3, SPOKEN]
                quoted = asked(auditor, "SELECT toInt64(text) FROM content")  # an error may quote what it read
                assert quoted[0] == 500
                assert asked(auditor, "SELECT count() FROM events")[2] == b"0\n"
                assert asked(url, sql)[1] == 497
                events = [json.loads(record.value) for record in broker.records(Topic.CONTROL, least=2)]
                told = [(e["type"], e["reader"], e["rows"], e["statement"]) for e in events]
                assert told == [
                    ("ContentRead", "auditor", 1, hashlib.sha256(sql.encode()).hexdigest()),
                    ("ContentRead", "auditor", 0, hashlib.sha256(b"SELECT toInt64(text) FROM content").hexdigest()),
                ]
                assert all(SPOKEN.encode() not in record.value for record in broker.records(Topic.CONTROL, least=2))
                broker.kill()
                status, code, body = asked(auditor, sql)
                assert (status, code) == (403, 497)
                assert SPOKEN.encode() not in body
                assert b"no broker acknowledged it" in body
            finally:
                process.terminate()
                process.wait(30)
        assert SPOKEN not in (tmp_path / "log").read_text()


def test_a_slow_reader_does_not_hold_up_inserts(house: House, arrow) -> None:
    """More questions than there are threads for readers: an insert has threads of its own."""
    slow = "SELECT count() FROM numbers(1000000000000)"
    told: list[int] = []

    def ask() -> None:
        told.append(asked(house.reader, slow, max_execution_time="4")[1])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    with closing(query.connect(house.writer)) as client:
        while client.command(f"SELECT count() FROM system.processes WHERE query LIKE '{slow}%'") < 4:
            pass
        for n in range(5):
            Writer(client).insert(Log.TURNS, arrow(Log.TURNS, {"seq": n}))
        assert client.command("SELECT count() FROM turns_log") == 5
    assert told == []  # all of them were still asking
    for thread in threads:
        thread.join()
    assert set(told) == {159}
