"""Read access to the views for the other packages; writes nothing and knows no SQL of its own."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httputil import get_pool_manager
from clickhouse_connect.driver.query import QueryResult

from ingest.errors import StoreError, StoreRefused, StoreUnreachable
from ingest.store.faults import translated

CONNECT_TIMEOUT_S = 5
RECEIVE_TIMEOUT_S = 300
# The one thing that ClickHouse's own read-only mode lets through when the engine is not behind a server.
# The bare word is refused wherever it stands: telling a keyword from a quoted one takes ClickHouse's own lexer.
_OUTFILE = re.compile(r"\bOUTFILE\b", re.IGNORECASE)
_QUOTED_OR_COMMENT = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|--[^\n]*|#!?[ !][^\n]*|/\*.*?\*/""", re.DOTALL
)
_FIRST_WORD = re.compile(r"[\s(;]*([A-Za-z]+)")
_ASKING = frozenset({"SELECT", "WITH", "FROM", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "EXISTS", "VALUES", "CHECK"})
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Whatever the server's profile says. The second one: an index may not hide the delivery that FINAL should have found.
_SETTINGS = {"async_insert": 0, "use_skip_indexes_if_final_exact_mode": 1}

# The driver logs a traceback beside the error that it raises; without a handler Python would print it to the user.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())


def connect(url: str, receive_timeout_s: int = RECEIVE_TIMEOUT_S) -> Client:
    """A client of the store at `http[s]://[user[:password]@]host[:port][/database]`; close it after use.

    Safe for several threads: it has no session. Times come back aware, in UTC.
    Raises StoreUnreachable (nobody there) or StoreRefused (not a URL of this kind, wrong password).
    """
    parts, port = _parsed(url)
    shown = f"{parts.scheme}://{parts.hostname}:{port}"
    try:
        with translated(f"connecting to {shown}"):
            return clickhouse_connect.get_client(
                host=parts.hostname,
                port=port,
                interface=parts.scheme,
                username=parts.username,
                password=parts.password or "",
                database=parts.path.strip("/") or "default",
                # What is on loopback is behind no proxy, whatever the environment says of others.
                pool_mgr=get_pool_manager() if parts.hostname in _LOOPBACK else None,
                compress=parts.hostname not in _LOOPBACK,  # on loopback, compressing costs more than sending
                connect_timeout=CONNECT_TIMEOUT_S,
                send_receive_timeout=receive_timeout_s,
                settings=dict(_SETTINGS),
                autogenerate_session_id=False,
                tz_mode="aware",
                show_clickhouse_errors="scrub",
            )
    except StoreUnreachable as error:
        raise StoreUnreachable(
            f"no store answers at {shown}: start one with `turnlog store`, or set CLICKHOUSE_URL to one ({error})"
        ) from None


def rows(client: Client, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The result as one dict a row. `params` fill `{name:Type}` in the SQL. Raises StoreUnreachable or StoreRefused."""
    result = _result(client, sql, params)
    return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]


class Answer(NamedTuple):
    """Rows in blocks, as they come. `blocks` may be read once, inside the `with` that made it."""

    columns: list[str]
    blocks: Iterator[Sequence[Sequence[Any]]]


@contextmanager
def asked(
    client: Client, sql: str, params: Mapping[str, Any] | None = None, *, rows_max: int = 0, timeout_s: int = 0
) -> Iterator[Answer]:
    """The answer to a statement that somebody typed, of which one block is held at a time.

    What would write, or reach a file or another host, is refused. `rows_max` and `timeout_s` bound it; 0 leaves it to
    the server. Raises StoreUnreachable or StoreRefused, also while blocks are read.
    """
    _refuse_what_is_no_question(sql)
    # `limit` cuts the result and no subquery of it, so the store need not compute what nobody reads.
    settings = {"readonly": 1, "limit": rows_max, "max_execution_time": timeout_s}
    with _typed(timeout_s):
        stream = client.query_row_block_stream(
            sql, parameters=dict(params) if params else None, settings={k: v for k, v in settings.items() if v}
        )
    with stream:
        columns = list(getattr(stream.source, "column_names", ())) or _described(client, sql, params)
        yield Answer(columns, _blocks(stream, timeout_s))


def _blocks(stream: Any, timeout_s: int) -> Iterator[Sequence[Sequence[Any]]]:
    while True:
        with _typed(timeout_s):
            block = next(stream, None)
        if block is None:
            return
        yield block


@contextmanager
def _typed(timeout_s: int) -> Iterator[None]:
    """Errors in terms of what was typed: the driver puts a FORMAT behind it, and ClickHouse speaks of that as well."""
    try:
        with translated("querying the store"):
            yield
    except StoreRefused as error:
        said = str(error)
        if "FORMAT AS Native" in said:
            said = "querying the store: the statement ends before it is complete"
        elif "(FORMAT)" in said and ": FORMAT Native" in said:
            said = "querying the store: this is no question, or it names a FORMAT itself, which is not for it to say"
        raise StoreRefused(said.replace(" FORMAT Native", ""), error.code) from None
    except StoreUnreachable as error:
        if "TIMEOUT_EXCEEDED" in str(error) or "timed out" in str(error):
            bound = f"longer than {timeout_s} s" if timeout_s else "too long"
            raise StoreUnreachable(f"the answer takes {bound}") from None
        raise


def _refuse_what_is_no_question(sql: str) -> None:
    """ClickHouse's own read-only mode refuses writes; it lets KILL through, and the engine takes several statements."""
    if _OUTFILE.search(sql):
        raise StoreRefused("a question writes no file, so it may not say OUTFILE: use the output of this command")
    bare = _QUOTED_OR_COMMENT.sub(lambda found: "''" if found[0][0] in "'\"`" else " ", sql)
    first = _FIRST_WORD.match(bare)
    if first is not None and first[1].upper() not in _ASKING:
        raise StoreRefused(
            f"{first[1].upper()} asks nothing: a question begins with SELECT, WITH, SHOW, DESCRIBE or EXPLAIN"
        )
    if bare.rstrip().rstrip(";").count(";"):
        raise StoreRefused("there is more than one statement: ask one question at a time")


def _described(client: Client, sql: str, params: Mapping[str, Any] | None) -> list[str]:
    """An empty result of the embedded store has no header in Native; SHOW cannot be described."""
    with suppress(StoreRefused):
        described = _result(client, f"DESCRIBE (\n{sql.rstrip().rstrip(';')}\n)", params, {"readonly": 1})
        return [str(row[0]) for row in described.result_rows]
    return []


def _result(
    client: Client, sql: str, params: Mapping[str, Any] | None, settings: dict[str, Any] | None = None
) -> QueryResult:
    with translated("querying the store"):
        return client.query(sql, parameters=dict(params) if params else None, settings=settings)


def _parsed(url: str) -> tuple[Any, int]:
    parts = urlsplit(url)
    try:
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        # The URL may hold a password, so it is not repeated.
        raise StoreRefused("the store's URL must look like http://127.0.0.1:8123: correct CLICKHOUSE_URL")
    return parts, port


__all__ = ["Answer", "Client", "StoreError", "asked", "connect", "rows"]
