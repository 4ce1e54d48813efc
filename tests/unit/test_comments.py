"""Which comments are written into the store. That it takes them is in the contract suite."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from ingest.store.comments import comment, statements
from ingest.tables import VIEWS, View

NODES = VIEWS[View.NODES]
AS_WANTED = {("nodes", column.name): column.meaning for column in NODES.columns} | {
    ("nodes", ""): f"{NODES.row}; {NODES.collapsed}"
}


def test_only_what_differs_is_written_and_nothing_for_what_is_not_there() -> None:
    assert statements({}) == []
    assert statements(AS_WANTED) == []
    meaning = next(c.meaning for c in NODES.columns if c.name == "call_id")
    assert statements(AS_WANTED | {("nodes", "call_id"): "old", ("nodes", "unknown"): "x"}) == [
        f"ALTER TABLE nodes COMMENT COLUMN call_id '{meaning}'"
    ]


def test_a_quote_in_the_words_ends_nothing() -> None:
    (found,) = statements({("events", "day"): ""})
    assert "\\'" in found
    assert found.replace("\\'", "").count("'") == 2


class _Refusing:
    """A server on which this user may not ALTER."""

    def query(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(result_rows=[("nodes", "", "")])

    def command(self, _: str) -> None:
        raise DatabaseError("Code: 497. DB::Exception: Not enough privileges. (ACCESS_DENIED)", code=497)


def test_a_server_that_takes_no_comments_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        comment(_Refusing())  # type: ignore[arg-type]  # the two methods that are used
    assert "privileges" in caplog.text
