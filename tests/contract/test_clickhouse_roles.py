"""What the roles of `deploy/clickhouse` may read, judged by ClickHouse's engine with its own access control.

No server is needed: the engine takes a user's grants and row filters from a file. It signs in as `default` alone, so
`default` is given what the role has, word for word.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from itertools import product
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pytest

from deploy.clickhouse.schema import CLUSTER, OWNER, schema
from deploy.clickhouse.users import tenant_reader, users
from ingest import query
from ingest.errors import StoreRefused
from ingest.reconcile.consolidate import consolidate
from ingest.replay.rebuild import rebuild
from ingest.store.erasing import parts_left, remove_lead
from ingest.store.migrate import migrate
from ingest.store.writer import Writer
from ingest.tables import SCHEMAS, Log, View
from tests.contract.conftest import Spawned
from tests.contract.test_clickhouse_files import statements
from tests.contract.test_server import REFUSED

TENANTS = ("acme", "other")
_ASK = """
import json, sys
import chdb
connection = chdb.connect(sys.argv[1])
for sql in json.load(sys.stdin):
    try:
        print(json.dumps([json.loads(line) for line in str(connection.query(sql, "JSONEachRow")).splitlines()]))
    except Exception as error:
        print(json.dumps(str(error)))
"""
_TYPES = {
    Log.EVENTS: ("CallStarted", "NodeEntered", "SpeechEnded", "ProducerBeat"),
    Log.OUTCOMES: ("ComplaintFiled",),
    Log.CONTENT: ("WordsHeard",),
}
_STORE = """
import runpy
import chdb
plain = chdb.connect
chdb.connect = lambda address: plain(address.partition("?")[0] + "?config-file=CONFIG")
runpy.run_module("ingest.store", run_name="__main__", alter_sys=True)
"""
_EVERYTHING = ["GRANT ALL ON *.*"]


class House:
    """A folder with rows of two tenants, behind the views of the schema for servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.views = [plain(text) for text in statements(schema()) if f"DEFINER = {OWNER}" in text]

    def ask(self, grants: list[str], filters: dict[str, str], *asked: str) -> list[Any]:
        """Answers as whoever has just these: rows, or an error's text."""
        address = f"{self.folder / 'data'}?config-file={configured(self.folder, grants, filters)}"
        program = [sys.executable, "-c", _ASK, address]
        done = subprocess.run(program, input=json.dumps(asked), capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]


def configured(folder: Path, grants: list[str], filters: dict[str, str]) -> Path:
    """A configuration of the engine that has these rights for whoever asks."""
    rights = "".join(f"<query>{escape(grant)}</query>" for grant in grants)
    rows = "".join(f"<{view}><filter>{escape(text)}</filter></{view}>" for view, text in filters.items())
    user = "<password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>"
    owner = f"<{OWNER}>{user}<grants><query>GRANT SELECT ON default.*</query></grants></{OWNER}>"
    default = f"<default>{user}<grants>{rights}</grants><databases><default>{rows}</default></databases></default>"
    (folder / "users.xml").write_text(
        f"<clickhouse><users>{owner}{default}</users><profiles><default/></profiles>"
        "<quotas><default/></quotas></clickhouse>"
    )
    config = folder / "config.xml"
    config.write_text(f"<clickhouse><users_config>{folder / 'users.xml'}</users_config></clickhouse>")
    return config


def plain(statement: str) -> str:
    return statement.replace(f" ON CLUSTER {CLUSTER}", "")


def granted(role: str) -> list[str]:
    """The role's grants and those of the roles that it has, without the role's name."""
    given = [plain(text) for text in statements(users()) if text.endswith(f" TO {role}") and "GRANT ON" in text]
    direct = [text.removesuffix(f" TO {role}") for text in given if re.match(r"GRANT [A-Z ,]+ ON ", text)]
    roles = [found[1] for text in given if (found := re.fullmatch(rf"GRANT (turnlog_\w+) TO {role}", text))]
    return direct + [grant for inner in roles for grant in granted(inner)]


@pytest.fixture(scope="module")
def house(
    spawn: Callable[..., AbstractContextManager[Spawned]],
    arrow: Callable[..., pa.Table],
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    folder = tmp_path_factory.mktemp("roles")
    with spawn(folder) as store, closing(query.connect(store.url)) as client:
        migrate(client)
        for log in SCHEMAS:
            rows = [
                {"tenant": tenant, "stream": f"call-{tenant}", "offset": n, "seq": n, "type": kind}
                for n, (tenant, kind) in enumerate(product(TENANTS, _TYPES.get(log, ("CallStarted",))))
            ]
            Writer(client).insert(log, arrow(log, *rows))
        for tenant in TENANTS:
            client.command(
                f"INSERT INTO calls_log (tenant, day, call_id, version) VALUES ('{tenant}', today(), 'c', 1)"
            )
            client.command(f"INSERT INTO corrections_log (minute, tenant) VALUES (now(), '{tenant}')")
    made = House(folder)
    assert made.ask(_EVERYTHING, {}, *made.views) == [[] for _ in made.views]
    return made


def tenants_of(house: House, grants: list[str], filters: dict[str, str]) -> dict[str, Any]:
    views = [str(view) for view in View]
    found = house.ask(grants, filters, *(f"SELECT DISTINCT tenant FROM {v} ORDER BY tenant" for v in views))
    return {
        v: told if isinstance(told, str) else [r["tenant"] for r in told] for v, told in zip(views, found, strict=True)
    }


def test_a_reader_reads_every_view_but_the_words(house: House) -> None:
    everything = tenants_of(house, _EVERYTHING, {})
    assert everything == {view: list(TENANTS) for view in everything}, "each view has rows of both"
    read = tenants_of(house, granted("turnlog_reader"), {})
    assert "ACCESS_DENIED" in read.pop("content")
    assert read == {view: list(TENANTS) for view in read}
    assert tenants_of(house, granted("turnlog_content"), {}) == everything


@pytest.mark.parametrize("role", ["turnlog_reader", "turnlog_content"])
def test_a_reader_of_one_tenant_meets_no_row_of_another_on_any_view(house: House, role: str) -> None:
    made = tenant_reader("acme")
    policy = re.search(r"CREATE ROW POLICY IF NOT EXISTS (\S+) .* ON (.*)\n +USING (.*) AS RESTRICTIVE TO (\S+);", made)
    assert policy is not None
    assert policy[1] == policy[4] == "`turnlog_reader_acme`"
    filters = {table.removeprefix("default."): policy[3] for table in policy[2].split(", ")}
    read = tenants_of(house, granted(role), filters)
    words = read.pop("content")
    assert words == ["acme"] if role == "turnlog_content" else "ACCESS_DENIED" in words
    assert read == {view: ["acme"] for view in read}
    counts = (
        "SELECT count() AS n FROM events",
        "SELECT countIf(x.tenant != 'acme') AS n FROM calls AS c JOIN events AS x USING day",
    )
    assert house.ask(granted(role), filters, *counts) == [[{"n": len(_TYPES[Log.EVENTS])}], [{"n": 0}]]


def test_a_reader_is_refused_what_is_not_his(house: House) -> None:
    asked = [sql.format(db="default") for sql in REFUSED]
    for sql, told in zip(asked, house.ask(granted("turnlog_reader"), {}, *asked), strict=True):
        assert re.search("ACCESS_DENIED|CANNOT_EXTRACT_TABLE_STRUCTURE|UNKNOWN_ROLE|UNKNOWN_TABLE", str(told)), sql


def test_a_reader_has_no_more_than_the_right_to_read(house: House) -> None:
    [shown] = house.ask(granted("turnlog_content"), {}, "SHOW GRANTS")
    assert {re.sub(r" ON .*", "", row["GRANTS"]) for row in shown} == {"GRANT SELECT"}


@pytest.mark.parametrize("name", ["", "a'b", "a`b", "a b", "x" * 65])
def test_a_tenant_that_no_role_can_be_named_after_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a tenant's name"):
        tenant_reader(name)


def test_a_writer_may_do_what_the_product_does(
    spawn: Callable[..., AbstractContextManager[Spawned]], arrow: Callable[..., pa.Table], tmp_path: Path
) -> None:
    ours = ["GRANT READ ON FILE", "GRANT CREATE TEMPORARY TABLE ON *.*"]  # the embedded store hands bodies on in files
    config = configured(tmp_path, granted("turnlog_writer") + ours, {})
    program = _STORE.replace("CONFIG", str(config))
    with spawn(tmp_path / "db", ("-c", program)) as store, closing(query.connect(store.url)) as client:
        migrate(client)
        for log in SCHEMAS:
            Writer(client).insert(log, arrow(log, {"seq": 1, "offset": 1}))
        assert remove_lead(client, "acme", "l-1", time.time_ns() // 1000).any
        assert parts_left(client)[0] > 0
        consolidate(client, (time.time_ns() // 1000) + 3 * 86_400_000_000)
        assert rebuild(store.url, None, "nobody", verify=False).swapped
        refused = "SELECT * FROM system.users"
        with pytest.raises(StoreRefused, match="SHOW USERS"):
            query.rows(client, refused)


def test_a_writer_may_read_the_system_tables_that_the_product_asks() -> None:
    """The engine alone lets everybody; a server wants a grant for each."""
    root = Path(__file__).parents[2]
    sources = [path.read_text() for folder in ("ingest", "deploy") for path in (root / folder).rglob("*.py")]
    asked = {name for text in sources for name in re.findall(r"FROM system\.(\w+)", text)}
    assert asked
    assert asked <= {grant.rpartition(".")[2] for grant in granted("turnlog_writer") if "ON system." in grant}
