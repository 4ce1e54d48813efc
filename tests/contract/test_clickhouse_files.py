"""What is shipped for a ClickHouse server: as new as the migrations, and SQL to ClickHouse's own parser.

What the roles may read: test_clickhouse_roles. That a server does as it says: test_server, where there is one.
"""

import re
from functools import partial
from pathlib import Path

import pytest

from deploy.clickhouse.schema import Unreplicated, replicated, schema
from deploy.clickhouse.users import tenant_reader, users
from ingest import query
from ingest.store.migrate import shipped
from ingest.tables import VIEWS, Log, View

HERE = Path(__file__).parents[2] / "deploy" / "clickhouse"


def statements(text: str) -> list[str]:
    return [part.strip() for part in re.split(r";\n", text) if part.strip()]


@pytest.mark.parametrize(("name", "made"), [("schema.sql", schema), ("users.sql", users)])
def test_the_files_are_as_new_as_the_migrations(name: str, made) -> None:
    assert (HERE / name).read_text(encoding="utf-8") == made(), "write them again: python -m deploy.clickhouse"


@pytest.mark.parametrize("made", [schema, users, partial(tenant_reader, "acme")], ids=["schema", "users", "tenant"])
def test_clickhouse_reads_every_statement(client: query.Client, made) -> None:
    for statement in statements(made()):
        written = query.rows(client, "SELECT formatQuerySingleLine({q:String}) AS q", {"q": statement})[0]["q"]
        assert written.startswith("INSERT") or "ON CLUSTER turnlog" in written, written


def test_every_table_is_replicated_and_every_view_has_its_definer() -> None:
    text = schema()
    for log in Log:
        assert re.search(rf"CREATE TABLE IF NOT EXISTS {log} ON CLUSTER turnlog\b", text)
    for view in View:
        assert re.search(rf"VIEW {view} ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS", text)
    assert not re.search(r"ENGINE = (?!Replicated)", text)
    for migration in shipped():
        assert f"('{migration.name}', '{migration.hash}')" in text


def test_readers_are_granted_the_views_and_no_words() -> None:
    granted = set(re.findall(r"SELECT ON default\.(\S+) TO turnlog_reader", users()))
    assert granted == {str(view) for view in VIEWS} - {"content"}
    assert re.findall(r"SELECT ON default\.(\S+) TO turnlog_content", users()) == ["content"]


def test_a_statement_of_another_kind_is_not_passed_over() -> None:
    with pytest.raises(Unreplicated, match="ALTER TABLE"):
        replicated("ALTER TABLE x ADD COLUMN y Int8")
