"""chDB as one answer a request; knows nothing of HTTP. The only module that imports chdb, once it is opened.

A request has a connection of its own (0.3 ms), so its settings die with it; only a session keeps one for longer.
"""

import os
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ingest.errors import StoreUnusable
from ingest.store.credentials import Role, User
from ingest.store.failure import QueryFailed
from ingest.store.reading import Question, Witness, must_be_witnessed, question, witnessed
from ingest.store.statement import Insert, Query, read

MEMORY_BYTES_MAX = 4 * 2**30
RESULT_BYTES_MAX = 512 * 2**20
QUERY_SECONDS_MAX = 600
SESSIONS_MAX = 64
SESSION_SECONDS_MAX = 3600
_BEGINNING = {
    "async_insert": "0",
    "max_result_bytes": str(RESULT_BYTES_MAX),
    "result_overflow_mode": "throw",
    "max_execution_time": str(QUERY_SECONDS_MAX),
}
_CODE = re.compile(r"Code: (\d+)")
NOBODY = User(Role.READER, Role.READER)


@dataclass(frozen=True)
class Request:
    """One statement. `sql` may end in inline data; `data` is what came beside it."""

    sql: bytes
    data: bytes = b""
    database: str = "default"
    params: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    format: str = "TabSeparated"  # unless the SQL names one
    session: str | None = None
    session_timeout_s: int = 60
    read_only: bool = False
    user: User = NOBODY
    tag: str = field(default_factory=lambda: str(uuid.uuid4()))  # by which it is cancelled


@dataclass(frozen=True)
class Answer:
    """`format` is None for a statement that has no result."""

    body: bytes
    format: str | None
    summary: dict[str, str]


@dataclass
class _Session:
    connection: Any
    ends_at: float = 0.0
    busy: bool = False


class Engine:
    """The store in `folder`, which the caller holds. `run` may be called from several threads."""

    def __init__(self, folder: Path, memory_bytes_max: int = MEMORY_BYTES_MAX, witness: Witness | None = None) -> None:
        self._witness = witness
        try:
            import chdb
        except ImportError:
            raise StoreUnusable(
                "the embedded store needs chdb: install turnlog[embedded], or set CLICKHOUSE_URL to a ClickHouse server"
            ) from None
        config = folder / "chdb.xml"
        self._connect = chdb.connect
        self._address = f"{folder / 'data'}?config-file={config}"
        self._sessions: dict[str, _Session] = {}
        self._guard = threading.Lock()
        try:
            config.write_text(
                f"<clickhouse><max_server_memory_usage>{memory_bytes_max}</max_server_memory_usage></clickhouse>\n",
                encoding="utf-8",
            )
            self._root = self._connect(self._address)  # the engine lives as long as one connection does
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise StoreUnusable(f"cannot open the store in {str(folder)!r}: {reason}") from None

    def run(self, request: Request) -> Answer:
        """Runs one statement to its end. Raises QueryFailed."""
        try:
            statement = read(request.sql, request.data)
            if not all(re.fullmatch(r"\w+", name) for name in request.settings):
                raise QueryFailed(115, "Code: 115. DB::Exception: not a setting's name. (UNKNOWN_SETTING)")
            if request.user.role is not Role.WRITER:
                return self._read(statement, request)
            with self._connection(request) as connection:
                self._prepare(connection, request, statement)
                if isinstance(statement, Insert):
                    return _insert(connection, statement)
                return _query(connection, statement, request)
        except UnicodeDecodeError:
            raise QueryFailed(62, "Code: 62. DB::Exception: SQL must be UTF-8. (SYNTAX_ERROR)") from None
        except RuntimeError as error:  # chdb has no narrower type, and no number but in the text
            raise _failed(error) from None

    def cancel(self, request: Request) -> None:
        """Ends a question that is running, if it still is. What writes goes on to its end."""
        self._root.query(f"KILL QUERY WHERE Settings['log_comment'] = {_quoted(request.tag)} ASYNC")

    def stop(self) -> None:
        """Cancels what is running, so that threads come back."""
        self._root.query("KILL QUERY WHERE 1 ASYNC")

    def close(self) -> None:
        """Closes the store; nothing may be running."""
        for session in self._sessions.values():
            session.connection.close()
        self._root.close()

    def _read(self, statement: Query | Insert, request: Request) -> Answer:
        """A reader's question, on a connection of its own whatever session it names."""
        connection = self._connect(self._address)
        try:
            asked = question(
                connection,
                statement,
                user=request.user,
                database=request.database,
                form=request.format,
                settings=request.settings,
            )
            _set(connection, {**asked.settings, "log_comment": request.tag})
            if not asked.verdict.settings:  # drivers ask there what they may set, and would be told that it is nothing
                connection.query("SET readonly = 1")
            query = read(asked.sql.encode())
            assert isinstance(query, Query)
            if not asked.verdict.words:
                return _query(connection, query, request)
            return self._read_words(connection, asked, query, request)
        finally:
            connection.close()

    def _read_words(self, connection: Any, asked: Question, query: Query, request: Request) -> Answer:
        witness = must_be_witnessed(self._witness)
        try:
            answer = _query(connection, query, request)
        except RuntimeError:
            # What cannot be parsed is quoted in an error, and may be words: that is a reading as well.
            witnessed(witness, request.user, asked, 0)
            raise
        witnessed(witness, request.user, asked, int(answer.summary["result_rows"]))
        return answer

    def _prepare(self, connection: Any, request: Request, statement: Query | Insert) -> None:
        if request.session is not None or request.database != "default":  # where a fresh connection is already
            connection.query(f"USE {_quoted(request.database, '`')}")
        settings = _BEGINNING | dict(request.settings)
        if isinstance(statement, Query) and statement.answers:
            settings["log_comment"] = request.tag
        readonly = settings.pop("readonly", None)
        _set(connection, settings)
        if readonly is not None:  # nothing can be set after it
            _set(connection, {"readonly": readonly})
        if request.read_only:
            connection.query("SET readonly = 2")

    @contextmanager
    def _connection(self, request: Request) -> Iterator[Any]:
        if request.session is None:
            connection = self._connect(self._address)
            try:
                yield connection
            finally:
                connection.close()
            return
        session = self._enter(request.session)
        try:
            yield session.connection
        finally:
            for name in request.settings:
                with suppress(RuntimeError):  # an unknown setting, on which the request failed
                    session.connection.query(f"SET {name} = DEFAULT")
            session.ends_at = time.monotonic() + min(request.session_timeout_s, SESSION_SECONDS_MAX)
            session.busy = False

    def _enter(self, name: str) -> _Session:
        with self._guard:
            now = time.monotonic()
            for old in [n for n, s in self._sessions.items() if not s.busy and s.ends_at < now]:
                self._sessions.pop(old).connection.close()
            session = self._sessions.get(name)
            if session is None:
                if len(self._sessions) >= SESSIONS_MAX:
                    raise QueryFailed(
                        202,
                        f"Code: 202. DB::Exception: {SESSIONS_MAX} sessions are open; wait for one to end, or work "
                        "without session_id. (TOO_MANY_SIMULTANEOUS_QUERIES)",
                    )
                session = self._sessions[name] = _Session(self._connect(self._address))
            elif session.busy:
                raise QueryFailed(373, "Code: 373. DB::Exception: the session is in use. (SESSION_IS_LOCKED)")
            session.busy = True
            return session


def _set(connection: Any, settings: Mapping[str, str]) -> None:
    """In one statement: each costs as much as a small question."""
    connection.query("SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items()))


def _insert(connection: Any, statement: Insert) -> Answer:
    # Not chDB's send_insert: what fails when it commits (too many partitions, a full disk) it reports as written.
    with _as_file(statement.data) as path:
        result = connection.query(
            f"{statement.into} FROM INFILE {_quoted(path)} COMPRESSION 'none' "
            f"{statement.settings} FORMAT {statement.format}",
            "TabSeparated",
        )
    written = (result.rows_written(), result.bytes_written())
    return Answer(b"", None, _summary(written=written, elapsed_ns=int(result.elapsed() * 1e9)))


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path that this process can read the bytes from: memory where the system has such files."""
    with tempfile.NamedTemporaryFile() if not hasattr(os, "memfd_create") else _memory_file() as file:
        file.write(data)
        file.flush()
        yield file.name if isinstance(file.name, str) else f"/proc/self/fd/{file.fileno()}"


def _memory_file() -> IO[bytes]:
    return os.fdopen(os.memfd_create("rows"), "wb")


def _query(connection: Any, statement: Query, request: Request) -> Answer:
    result = connection.query(statement.sql, statement.format or request.format, params=dict(request.params))
    body = result.bytes() or b""
    return Answer(
        body,
        (statement.format or request.format) if statement.answers or body else None,
        _summary(
            read=(result.storage_rows_read(), result.storage_bytes_read()),
            result=(result.rows_read(), len(body)),
            elapsed_ns=int(result.elapsed() * 1e9),
        ),
    )


def _failed(error: RuntimeError) -> QueryFailed:
    message = str(error)
    found = _CODE.search(message)
    return QueryFailed(int(found[1]) if found else 1002, message[found.start() :] if found else message)


def _summary(
    *,
    read: tuple[int, int] = (0, 0),
    written: tuple[int, int] = (0, 0),
    result: tuple[int, int] = (0, 0),
    elapsed_ns: int,
) -> dict[str, str]:
    numbers = {
        "read_rows": read[0],
        "read_bytes": read[1],
        "written_rows": written[0],
        "written_bytes": written[1],
        "total_rows_to_read": 0,
        "result_rows": result[0],
        "result_bytes": result[1],
        "elapsed_ns": elapsed_ns,
    }
    return {name: str(number) for name, number in numbers.items()}


def _quoted(value: str, quote: str = "'") -> str:
    return quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote
