"""The embedded store over HTTP: it serves ClickHouse's driver, keeps what it acknowledged, and says no clearly."""

import base64
import datetime as dt
import gzip
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from ingest import query
from ingest.errors import RowsRefused, StoreRefused, StoreUnreachable, StoreUnusable
from ingest.position import position_of
from ingest.store.bodies import decompressed
from ingest.store.engine import SESSIONS_MAX
from ingest.store.logs import generation_of
from ingest.store.migrate import Migration, migrate, shipped
from ingest.store.writer import Writer
from ingest.tables import SCHEMAS, VIEWS, Log
from tests.contract.ground import until


def asking(url: str, query: str) -> urllib.request.Request:
    """A GET of the store by whoever the URL names."""
    parts = urlsplit(url)
    key = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    address = f"http://{parts.hostname}:{parts.port}/?query={query}"
    return urllib.request.Request(address, headers={"Authorization": f"Basic {key}"})


@pytest.mark.parametrize("log", SCHEMAS)
def test_every_table_gives_back_what_arrow_put_in(client, arrow, log):
    rows = [{}, {"seq": 1, "offset": 1, "epoch": 1, "latency_us": None, "unattributed_us": None, "ready_us": 7}]
    rows.append({"seq": 2, "offset": 2, "epoch": 2, "variants": {}, "buckets": {}, "tenant": "ünïcode\x00'"})
    sent = arrow(log, *rows)
    Writer(client).insert(log, sent)
    key = "epoch" if "epoch" in SCHEMAS[log].names else "seq"
    stored = query.rows(client, f"SELECT * FROM {log} ORDER BY {key}")
    for kept, given in zip(stored, sent.to_pylist(), strict=True):
        for column, value in given.items():
            assert kept[column] == (dict(value) if isinstance(value, list) else value), column


def test_a_dictionary_of_strings_is_as_good_as_strings(client, arrow):
    rows = arrow(Log.TURNS, {})
    rows = rows.set_column(0, "tenant", rows["tenant"].dictionary_encode())
    Writer(client).insert(Log.TURNS, rows)
    assert client.command("SELECT tenant FROM turns") == "acme"


def test_a_null_where_none_belongs_is_the_rows_fault_and_is_not_quoted(client, arrow):
    rows = arrow(Log.TURNS, {"stream": "secret"}, {"seq": 1})
    with pytest.raises(RowsRefused, match="code 349") as refused:
        Writer(client).insert(Log.TURNS, rows.set_column(0, "tenant", pa.array(["secret", None])))
    assert "secret" not in str(refused.value)
    assert refused.value.code == 349


def test_a_day_that_does_not_fit_is_the_rows_fault(client, arrow):
    with pytest.raises(RowsRefused, match="OUT_OF_RANGE"):
        Writer(client).insert(Log.TURNS, arrow(Log.TURNS, {"day": dt.date(1969, 12, 31)}))


def test_more_days_than_a_block_may_span_are_the_rows_fault(client, arrow):
    days = [{"day": dt.datetime.now(dt.UTC).date() - dt.timedelta(days=n)} for n in range(101)]
    with pytest.raises(RowsRefused, match="code 252"):  # it fails at the commit, after all rows were read
        Writer(client).insert(Log.TURNS, arrow(Log.TURNS, *days))
    assert client.command("SELECT count() FROM turns") == 0
    Writer(client).insert(Log.TURNS, arrow(Log.TURNS, *days[1:]))
    assert client.command("SELECT count() FROM turns") == 100


def test_another_type_is_refused_before_it_can_wrap_around(client, arrow):
    rows = arrow(Log.TURNS, {}, {})
    wrong = rows.set_column(4, "seq", pa.array([-1, 2**40]))
    with pytest.raises(StoreRefused, match="seq"):
        Writer(client).insert(Log.TURNS, wrong)
    with pytest.raises(StoreRefused, match="offset"):
        Writer(client).insert(Log.TURNS, rows.drop_columns(["offset"]))


def test_a_missing_table_is_not_blamed_on_the_rows(store_url, arrow):
    with closing(query.connect(store_url)) as client:
        client.command("CREATE DATABASE IF NOT EXISTS empty")
    with closing(query.connect(f"{store_url}/empty")) as client, pytest.raises(StoreRefused) as refused:
        Writer(client).insert(Log.TURNS, arrow(Log.TURNS, {}))
    assert not isinstance(refused.value, RowsRefused)
    assert refused.value.code == 60


def test_migrations_run_once_and_an_edited_one_stops(client):
    assert migrate(client) == []
    edited = [Migration(shipped()[0].name, "SELECT 1;\n"), *shipped()[1:]]
    with pytest.raises(StoreUnusable, match="edited"):
        migrate(client, edited)


def test_every_migration_may_run_again_after_a_crash_half_way(client):
    for migration in shipped():
        for statement in migration.statements():
            client.command(statement)


def test_every_view_has_the_columns_types_and_words_that_are_published(client):
    migrate(client)
    sql = "SELECT table, name, type, comment FROM system.columns WHERE database = currentDatabase() ORDER BY position"
    found = query.rows(client, sql)
    for view, described in VIEWS.items():
        stored = [(r["name"], r["type"], r["comment"]) for r in found if r["table"] == view]
        assert stored == [(column.name, column.type, column.meaning) for column in described.columns]
        sql = f"SELECT comment FROM system.tables WHERE name = '{view}' AND database = 'default'"
        assert described.row in query.rows(client, sql)[0]["comment"]


def test_words_that_were_lost_or_changed_come_back_with_the_next_start(client):
    sql = "SELECT comment FROM system.columns WHERE table = 'calls' AND name = 'disposition'"
    before = client.command(sql)
    client.command("ALTER TABLE calls COMMENT COLUMN disposition 'old'")
    assert client.command(sql) == "old"
    assert migrate(client) == []
    assert client.command(sql) == before != ""


def test_generations_count_in_order_of_first_sight_and_never_change(client):
    assert [generation_of(client, "calls", log) for log in ("z", "a", "m")] == [0, 1, 2]
    client.command("OPTIMIZE TABLE logs_log FINAL")
    assert [generation_of(client, "calls", log) for log in ("m", "z", "a")] == [2, 0, 1]
    assert generation_of(client, "other", "m") == 0


def test_callers_that_race_agree_on_every_generation(store_url, client):
    answers: list[dict[str, int]] = []

    def caller(logs: list[str]) -> None:
        with closing(query.connect(store_url)) as own:
            answers.append({log: generation_of(own, "raced", log) for log in logs})

    orders = (["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"], ["a", "c", "b"])
    threads = [threading.Thread(target=caller, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(orders)
    assert all(answer == answers[0] for answer in answers)
    assert sorted(answers[0].values()) == [0, 1, 2]


@pytest.mark.parametrize(("generation", "offset"), [(2**16, 0), (0, 2**48), (-1, 0), (0, -1)])
def test_positions_beyond_their_bits_are_refused(generation, offset):
    with pytest.raises(ValueError, match="start a new store"):
        position_of(generation, offset)


def test_killing_the_store_loses_nothing_that_it_acknowledged(spawn, tmp_path, arrow):
    acknowledged = 0
    with spawn(tmp_path / "db") as store, closing(query.connect(store.url)) as client:
        migrate(client)
        for batch in range(20):
            Writer(client).insert(Log.SPANS, arrow(Log.SPANS, *({"seq": batch * 50 + n} for n in range(50))))
            acknowledged += 50
        store.kill()
        with pytest.raises(StoreUnreachable):
            Writer(client).insert(Log.SPANS, arrow(Log.SPANS, {}))
    with spawn(tmp_path / "db") as store, closing(query.connect(store.url)) as client:
        assert migrate(client) == []
        assert client.command("SELECT count() FROM spans") == acknowledged
        assert query.rows(client, "SELECT quantile_us(map(10, 1), 0.5) > 1 AS kept") == [{"kept": 1}]


def test_opening_a_held_store_and_a_taken_port_are_one_line_each(spawn, tmp_path):
    with spawn(tmp_path / "db") as store:
        port = str(urlsplit(store.url).port)
        for path, said in ((tmp_path / "db", "is open in process"), (tmp_path / "other", "cannot listen")):
            command = [sys.executable, "-m", "ingest.store", "--path", str(path), "--port", port]
            second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
            assert second.returncode == 1
            assert said in second.stderr
            assert second.stderr.count("\n") == 1
        store.process.terminate()
        assert store.process.wait(20) == 0


def test_nobody_there_names_the_address_and_the_remedy():
    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:9.*turnlog store"):
        query.connect("http://user:hush@127.0.0.1:9")


@pytest.mark.parametrize("url", ["127.0.0.1:8123", "ftp://x", "http://", "http://hush@:x", "http://h:99999999"])
def test_what_is_no_url_is_refused_without_repeating_it(url):
    with pytest.raises(StoreRefused, match="must look like") as refused:
        query.connect(url)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_the_plain_driver_works_as_with_a_server(store_url, compress):
    parts = urlsplit(store_url)
    where = {"host": parts.hostname, "port": parts.port, "username": parts.username, "password": parts.password}
    with closing(clickhouse_connect.get_client(**where, compress=compress)) as client:
        client.command("CREATE TEMPORARY TABLE mine (a Int64, b String)")  # lives in the session
        client.insert("mine", [[n, "x" * 100] for n in range(1000)], column_names=["a", "b"])
        client.insert_arrow("mine", pa.table({"a": [1000], "b": ["y"]}))
        assert client.query("SELECT count(), max(a) FROM mine").result_rows == [(1001, 1000)]
        assert client.query_arrow("SELECT a FROM mine WHERE a < 3").num_rows == 3
        bound = {"a": [1, 2], "b": "it's"}
        asked = client.query("SELECT {a:Array(Int64)}, {b:String}", parameters=bound, settings={"max_threads": 1})
        assert asked.result_rows == [([1, 2], "it's")]
        client.command("SET max_block_size = 77")
        assert client.command("SELECT getSetting('max_block_size')") == 77


def test_a_setting_lives_as_long_as_its_request(client):
    sql = "SELECT getSetting('max_block_size') AS size"
    assert client.query(sql, settings={"max_block_size": 99}).result_rows == [(99,)]
    assert client.query(sql).result_rows != [(99,)]
    assert client.command("SELECT getSetting('async_insert')") in (0, False, "false")


def test_errors_carry_clickhouses_code_and_harm_nobody(client):
    for sql, code in (("SELEC 1", 62), ("SELECT * FROM nothing", 60), ("SELECT throwIf(1)", 395)):
        with pytest.raises(StoreRefused) as refused:
            query.rows(client, sql)
        assert refused.value.code == code
    assert query.rows(client, "SELECT 1 AS one") == [{"one": 1}]


def test_a_result_beyond_the_bound_is_an_error_and_not_the_end(client):
    with pytest.raises(DatabaseError, match="TOO_MANY_ROWS_OR_BYTES"):
        client.raw_query("SELECT number FROM numbers(1000000)", settings={"max_result_bytes": 100_000}, fmt="Native")
    assert client.command("SELECT 1") == 1


def test_inserts_and_selects_run_at_the_same_time(store_url, client, arrow):
    def insert(writer: int) -> None:
        with closing(query.connect(store_url)) as own:
            for batch in range(10):
                rows = ({"source": f"w{writer}", "seq": batch * 20 + n} for n in range(20))
                Writer(own).insert(Log.SPANS, arrow(Log.SPANS, *rows))

    threads = [threading.Thread(target=insert, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert client.command("SELECT count() FROM spans") % 20 == 0
    assert client.command("SELECT count() FROM spans") == 600


def test_sessions_are_bounded_and_expire(spawn, tmp_path):
    def ask(session: str, timeout_s: int) -> int:
        sql = f"SELECT+1&session_id={session}&session_timeout={timeout_s}"
        try:
            with urllib.request.urlopen(asking(store.url, sql)) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    with spawn(tmp_path / "db") as store:
        assert [ask(f"s{n}", 60) for n in range(SESSIONS_MAX)] == [200] * SESSIONS_MAX
        assert ask("one-more", 60) == 503
        assert ask("s0", 0) == 200  # its own session is still there, and ends now
        assert ask("one-more", 60) == 200


@pytest.mark.parametrize("header", [("Origin", "http://evil"), ("Sec-Fetch-Site", "cross-site"), ("Host", "evil.com")])
def test_a_web_page_gets_nothing(store_url, header):
    request = asking(store_url, "SELECT+1")
    request.add_header(*header)
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(request)
    refused.value.close()


def test_get_changes_nothing(store_url, client):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asking(store_url, "DROP+TABLE+spans_log"))
    with refused.value as answer:
        assert answer.headers["X-ClickHouse-Exception-Code"] == "164"
    assert client.command("SELECT count() FROM spans") == 0


def test_a_store_that_is_told_to_stop_cancels_what_runs_too_long(spawn, tmp_path):
    with spawn(tmp_path / "db") as store:
        said: list[BaseException] = []

        def endless() -> None:
            with closing(query.connect(store.url)) as own, pytest.raises(StoreUnreachable) as refused:
                query.rows(own, "SELECT count() FROM numbers(10000000000000)")
            said.append(refused.value)

        thread = threading.Thread(target=endless)
        thread.start()
        with closing(query.connect(store.url)) as own:
            while own.command("SELECT count() FROM system.processes WHERE query LIKE '%10000000000000%'") < 2:
                pass
        store.process.terminate()
        assert store.process.wait(15) == 0
        thread.join()
        assert "cancelled" in str(said[0]) or "no answer" in str(said[0])


def test_parameters_too_long_for_a_url_are_read_from_a_form(client):
    """clickhouse-connect sends them as a form by itself."""
    keys = [f"{i:036d}" for i in range(20_000)]
    found = query.rows(client, "SELECT length({keys:Array(String)}) AS n, {keys:Array(String)}[7] AS k", {"keys": keys})
    assert found == [{"n": 20_000, "k": keys[6]}]


def test_a_body_may_come_in_chunks_and_compressed(store_url, client):
    """As `curl -T -` and streaming drivers send it; http.client sends an iterable in chunks."""
    parts = urlsplit(store_url)
    rows = b"".join(b"topic\tlog-%d\n" % n for n in range(1_000))
    packed = gzip.compress(b"INSERT INTO logs_log (topic, log) FORMAT TSV\n" + rows)
    pieces = (packed[start : start + 700] for start in range(0, len(packed), 700))
    headers = {"X-ClickHouse-User": parts.username, "X-ClickHouse-Key": parts.password, "Content-Encoding": "gzip"}
    with closing(HTTPConnection(parts.hostname, parts.port)) as connection:
        connection.request("POST", "/", body=pieces, headers=headers, encode_chunked=True)
        with connection.getresponse() as answer:
            assert answer.status == 200, answer.read()
    assert client.command("SELECT uniqExact(log) FROM logs_log") == 1_000


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate", "identity"])
def test_a_long_answer_comes_in_chunks_and_compressed_as_it_was_asked_for(store_url, client, encoding):
    parts = urlsplit(store_url)
    sql = "SELECT number, toString(number % 10) FROM numbers(300000) FORMAT TSV"
    headers = {"X-ClickHouse-User": parts.username, "X-ClickHouse-Key": parts.password, "Accept-Encoding": encoding}
    with closing(HTTPConnection(parts.hostname, parts.port)) as connection:
        connection.request("POST", "/?enable_http_compression=1", body=sql, headers=headers)
        with connection.getresponse() as answer:
            assert (answer.status, answer.headers["Transfer-Encoding"]) == (200, "chunked")
            assert answer.headers.get("Content-Encoding", "identity") == encoding
            body = answer.read()
    plain = b"".join(b"%d\t%d\n" % (n, n % 10) for n in range(300_000))
    assert decompressed(body, encoding, len(plain)) == plain
    assert len(body) < len(plain) / 2 or encoding == "identity"


@pytest.mark.parametrize("who", ["reader", "writer"])
def test_who_goes_away_leaves_no_question_running(store_url, client, who):
    parts = urlsplit(store_url)
    key = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    login = f"Authorization: Basic {key}\r\n" if who == "writer" else ""
    asked = f"numbers(1000000000000{'1' if login else '2'})"
    sql = f"SELECT count() FROM {asked} WHERE number % 7 = 1"
    running = f"SELECT count() FROM system.processes WHERE query LIKE '%{asked}%'"
    request = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n{login}Content-Length: {len(sql)}\r\n\r\n{sql}"
    with socket.create_connection((parts.hostname, parts.port)) as asking_:
        asking_.sendall(request.encode())
        until(lambda: int(client.command(running)) == 2, "it runs")
    until(lambda: int(client.command(running)) == 1, "only the one that asks is left")
