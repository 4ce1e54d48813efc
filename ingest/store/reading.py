"""How a reader's statement is put to the engine: written anew, judged, bounded, told of if it reads words."""

import hashlib
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

from ingest.store.credentials import Role, User
from ingest.store.failure import QueryFailed
from ingest.store.judge import CONTENT, DATABASE, Refused, Verdict, judged
from ingest.store.limits import STATEMENT_BYTES_MAX, NotForReaders, reader_settings
from ingest.store.statement import Insert, Query
from ingest.store.vocabulary import FORMATS
from ingest.views import View

_PUBLIC = {
    Role.READER: frozenset(str(view) for view in View if view != CONTENT),
    Role.CONTENT: frozenset(map(str, View)),
}
_SCOPE = re.compile(r": In scope SELECT formatQuerySingleLine\(.*\)(?=\. \([A-Z_]+\))", re.DOTALL)
_NO_SAYER = (
    "each reading of words is an event, and this store has no brokers to say it to: start it with `turnlog up`, or set "
    "KAFKA_BOOTSTRAP_SERVERS where it starts"
)


class Witness(Protocol):
    def say(self, reader: str, statement: str, rows: int) -> None:
        """Make it known, for good, that words were read. Raises OSError with the reason when it cannot be."""


@dataclass(frozen=True)
class Question:
    """A reader's statement as it is to run: `sql` in ClickHouse's own writing."""

    sql: str
    settings: Mapping[str, str]
    verdict: Verdict
    sha256: str


def question(
    connection: Any,
    statement: Query | Insert,
    *,
    user: User,
    database: str,
    form: str,
    settings: Mapping[str, str],
) -> Question:
    """What `user` asks, judged. Raises QueryFailed with ClickHouse's number for what is refused."""
    if isinstance(statement, Insert):
        raise denied("INSERT asks nothing that a reader may ask: the writer's credential is needed")
    if len(statement.sql.encode()) > STATEMENT_BYTES_MAX:
        raise denied(f"the statement exceeds {STATEMENT_BYTES_MAX} bytes: bind what is long as a parameter")
    if database != DATABASE:
        raise denied(f"readers have the database {DATABASE!r} alone")
    if form not in FORMATS:
        raise denied("the format is not one for readers: ask for Native, JSON, CSV, TSV, Arrow or Parquet")
    public = _PUBLIC[user.role]
    sql = canonical(connection, statement.sql)
    try:
        return Question(
            sql,
            reader_settings(settings, public),
            judged(sql, public),
            hashlib.sha256(statement.sql.encode()).hexdigest(),
        )
    except Refused as refused:
        raise denied(str(refused)) from None
    except NotForReaders as setting:
        raise QueryFailed(
            164, f"Code: 164. DB::Exception: Cannot modify '{setting}' setting for readers. (READONLY)"
        ) from None


def canonical(connection: Any, sql: str) -> str:
    """The one statement as ClickHouse writes it: no comments, one way to quote. Raises QueryFailed for its faults."""
    escaped = "".join(
        {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}.get(char, char) for char in sql
    )
    try:
        answer = connection.query("SELECT formatQuerySingleLine({q:String})", "TSVRaw", params={"q": escaped})
    except RuntimeError as error:
        message = str(error)
        message = message[message.find("Code: ") :] if "Code: " in message else message
        raise QueryFailed(62, _SCOPE.sub("", message)) from None
    return bytes(answer.bytes() or b"").decode().rstrip("\n")


def must_be_witnessed(witness: Witness | None) -> Witness:
    """Whoever says that words are read. Raises QueryFailed when nobody does."""
    if witness is None:
        raise denied(_NO_SAYER)
    return witness


def witnessed(witness: Witness, user: User, asked: Question, rows: int) -> None:
    """Say it before the rows are given out. Raises QueryFailed when it cannot be said: then they are not."""
    try:
        witness.say(user.name, asked.sha256, rows)
    except OSError as error:
        raise denied(f"each reading of words is an event, and it cannot be said at the moment: {error}") from None


def public_names(role: Role) -> AbstractSet[str]:
    return _PUBLIC[role]


def denied(why: str) -> QueryFailed:
    return QueryFailed(497, f"Code: 497. DB::Exception: {why}. (ACCESS_DENIED)")
