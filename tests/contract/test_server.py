"""What a ClickHouse server is held to as the embedded store is: its schema, its views, and what a reader is refused.

The server is named by `--clickhouse URL`; without it the embedded store stands alone.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import pytest

from deploy.clickhouse.schema import OWNER, schema
from deploy.clickhouse.users import users
from ingest import query
from ingest.errors import StoreRefused
from ingest.store.migrate import migrate, pending, shipped
from ingest.store.writer import Writer
from ingest.tables import VIEWS, Log, View
from tests.contract.conftest import database_on

KEY = "Aa1!a-key-of-this-test"
PUBLIC = sorted(str(view) for view in VIEWS if view != "content")
# Not KILL QUERY and system.processes, which a server answers for the reader's own questions.
REFUSED = (
    *("SELECT * FROM events_log", "SELECT * FROM content_log", "SELECT * FROM content", "SELECT * FROM migrations"),
    *("SELECT * FROM calls WHERE call_id IN (SELECT stream FROM content_log)", "SELECT * FROM merge('{db}', '.*_log')"),
    *("SELECT * FROM file('x.csv')", "SELECT * FROM url('http://127.0.0.1:9/', 'CSV', 'a String')"),
    *("SELECT * FROM remote('127.0.0.1', {db}.events_log)", "SELECT * FROM executable('id', TSV, 'a String')"),
    *("INSERT INTO calls_log (call_id) VALUES ('x')", "TRUNCATE TABLE events_log", "DROP VIEW calls"),
    *("DROP DATABASE {db}", "CREATE TABLE x (a Int8) ENGINE = Memory", "ALTER TABLE events_log DELETE WHERE 1"),
    *("OPTIMIZE TABLE events_log", "CREATE USER mallory", "GRANT ALL ON *.* TO mallory"),
    *("SELECT * FROM system.query_log", "SELECT * FROM system.users"),
)  # fmt: skip


@dataclass
class House:
    """URLs by who asks."""

    writer: str
    reader: str
    database: str


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "house" in metafunc.fixturenames:
        server = metafunc.config.getoption("--clickhouse")
        metafunc.parametrize("house", ["embedded", *(["server"] if server else [])], indirect=True, scope="module")


@pytest.fixture(scope="module")
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if request.param == "server":
        with database_on(request.config.getoption("--clickhouse")) as url, with_roles(url) as reader:
            yield House(url, reader, urlsplit(url).path.strip("/"))
        return
    with request.getfixturevalue("spawn")(tmp_path_factory.mktemp("server") / "db") as store:
        with closing(query.connect(store.url)) as client:
            migrate(client)
        yield House(store.url, as_user(store.url, ""), "default")


def as_user(url: str, login: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{login}{parts.hostname}:{parts.port}"))


@contextmanager
def with_roles(url: str) -> Iterator[str]:
    """The reader's URL, of roles and views as deploy/clickhouse has them but under this database's name."""
    name = urlsplit(url).path.strip("/")

    def ours(text: str) -> str:
        text = text.replace(" ON CLUSTER turnlog", "").replace("default.", f"{name}.")
        return re.sub(r"\bturnlog_(owner|reader|writer|content)\b", rf"{name}_\1", text)

    with closing(query.connect(url)) as client:
        try:
            for statement in re.split(r";\n", ours(users())):
                if re.sub(r"--.*", "", statement).strip():
                    client.command(statement)
            for view in re.findall(rf"CREATE [^;]*?VIEW [^;]*?DEFINER = {OWNER}[^;]*?;\n", schema()):
                client.command(ours(view).rstrip(";\n"))
            client.command(
                f"CREATE USER {name} IDENTIFIED WITH sha256_password BY '{KEY}' DEFAULT ROLE {name}_reader"
                f" DEFAULT DATABASE {name}"
            )
            yield as_user(url, f"{name}:{KEY}@")
        finally:
            everywhere = ", ".join(f"{name}.{view}" for view in View)
            client.command(f"DROP ROW POLICY IF EXISTS turnlog_every_tenant ON {everywhere}")
            client.command(f"DROP USER IF EXISTS {name}, {name}_owner")
            client.command(f"DROP ROLE IF EXISTS {name}_reader, {name}_content, {name}_writer")
            client.command(f"DROP SETTINGS PROFILE IF EXISTS {name}_reader, {name}_writer")
            client.command(f"DROP QUOTA IF EXISTS {name}_reader")


def test_the_schema_is_whole_and_its_views_are_as_published(house: House) -> None:
    with closing(query.connect(house.writer)) as client:
        applied = {r["name"]: r["hash"] for r in query.rows(client, "SELECT name, hash FROM migrations FINAL")}
        assert pending(shipped(), applied) == []
        assert migrate(client) == []
        for view, words in VIEWS.items():
            described = query.rows(client, f"DESCRIBE TABLE {view}")
            assert [(r["name"], r["type"]) for r in described] == [(c.name, c.type) for c in words.columns], view


def test_what_is_written_is_read_by_a_reader(house: House, arrow: Callable[..., object]) -> None:
    with closing(query.connect(house.writer)) as client:
        for log in (Log.EVENTS, Log.TURNS, Log.SPANS, Log.GLITCHES, Log.TOOL_CALLS):
            Writer(client).insert(log, arrow(log, {}, {"seq": 1, "offset": 1}))  # type: ignore[arg-type]
    with closing(query.connect(house.reader)) as reader:
        for view in ("events", "turns", "spans", "glitches", "tool_calls"):
            assert query.rows(reader, f"SELECT count() AS n FROM {view}") == [{"n": 2}], view
        for view in PUBLIC:
            query.rows(reader, f"SELECT * FROM {view} LIMIT 1")


@pytest.mark.parametrize("sql", REFUSED)
def test_a_reader_is_refused_what_is_not_his(house: House, sql: str) -> None:
    with closing(query.connect(house.reader)) as reader, pytest.raises(StoreRefused):
        query.rows(reader, sql.format(db=house.database))
