"""Which migrations run, and the disagreements that stop them. The store itself is in the contract suite."""

import pytest

from ingest.errors import StoreUnusable
from ingest.store.migrate import Migration, pending, shipped

ONE, TWO = Migration("0001_one", "SELECT 1;\n"), Migration("0002_two", "SELECT 2;\n")


def test_only_what_is_missing_is_pending():
    assert pending([ONE, TWO], {}) == [ONE, TWO]
    assert pending([ONE, TWO], {ONE.name: ONE.hash}) == [TWO]
    assert pending([ONE, TWO], {ONE.name: ONE.hash, TWO.name: TWO.hash}) == []


def test_an_edited_migration_is_an_error_that_names_it():
    with pytest.raises(StoreUnusable, match=r"0001_one.*edited"):
        pending([ONE], {ONE.name: TWO.hash})


def test_a_store_of_a_newer_version_is_an_error():
    with pytest.raises(StoreUnusable, match=r"0002_two.*[Uu]pgrade"):
        pending([ONE], {ONE.name: ONE.hash, TWO.name: TWO.hash})


def test_statements_split_at_line_ends_and_comments_are_none():
    found = Migration("x", "-- why; it is so\nCREATE TABLE a;\n\n-- b\nINSERT ';' x\n;\n-- the end\n").statements()
    assert found == ["-- why; it is so\nCREATE TABLE a", "-- b\nINSERT ';' x"]


def test_shipped_migrations_are_numbered_without_gaps_and_may_run_twice():
    found = shipped()
    assert [m.name[:5] for m in found] == [f"{n:04}_" for n in range(1, len(found) + 1)]
    for migration in found:
        for statement in migration.statements():
            assert "IF NOT EXISTS" in statement or "CREATE OR REPLACE" in statement, statement[:80]
