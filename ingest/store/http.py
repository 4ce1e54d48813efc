"""ClickHouse's HTTP interface over the engine, as much as its drivers use; says who asks, and bounds how many.

What a real server adds (row policies, quotas, other revisions of Native) is a real server's job.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from ingest.store.bodies import PIECE_BYTES, decompressed, encoding_for, pieces, too_large
from ingest.store.credentials import Credentials, NotAllowed, Role, User, told
from ingest.store.engine import NOBODY, Answer, Engine, Request
from ingest.store.failure import QueryFailed

BODY_BYTES_MAX = 256 * 2**20
LINE_BYTES_MAX = 2**20  # of the URL, as ClickHouse: parameters travel in it
REQUESTS_MAX = 64  # running and waiting together, of writers; and as many of readers
THREADS = 4  # for writers; readers have as many of their own, so that none of them holds up an insert
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_CANCEL_EVERY_S = 0.2

# Parameters of the interface itself; every other one is a setting.
_INTERFACE = frozenset(
    {
        *("query", "query_id", "database", "user", "password", "role", "quota_key", "default_format"),
        *("session_id", "session_timeout", "session_check", "close_session", "client_protocol_version"),
        *("compress", "decompress", "enable_http_compression", "wait_end_of_query", "buffer_size"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms", "add_http_cors_header"),
        "http_native_compression_disable_checksumming_on_decompress",
    }
)
_NOT_FOUND = frozenset({60, 81})  # UNKNOWN_TABLE, UNKNOWN_DATABASE
_BUSY = frozenset({202})
_FORBIDDEN = frozenset({497, 516})  # ACCESS_DENIED, AUTHENTICATION_FAILED
_NOT_ALLOWED = QueryFailed(
    516,
    "Code: 516. DB::Exception: Authentication failed: password is incorrect, or there is no user with such name. "
    "(AUTHENTICATION_FAILED)",
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """Serves one engine. `drain` waits for the running requests."""

    def __init__(self, engine: Engine, credentials: Credentials, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self._engine = engine
        self._credentials = credentials
        self._body_bytes_max = body_bytes_max
        self._threads = {
            writes: ThreadPoolExecutor(THREADS, thread_name_prefix="writer" if writes else "reader")
            for writes in (True, False)
        }
        self._requests = {True: 0, False: 0}

    def application(self) -> web.Application:
        app = web.Application(client_max_size=self._body_bytes_max, middlewares=[_no_browsers])
        app.router.add_get("/ping", _ok)
        app.router.add_get("/", self._answer)
        app.router.add_post("/", self._answer)
        return app

    def drain(self) -> None:
        """Waits until no request runs. Blocks."""
        for threads in self._threads.values():
            threads.shutdown(wait=True, cancel_futures=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and "query" not in request.query:
            return await _ok(request)
        try:
            user = self._credentials.user(*told(request.headers, request.query))
        except NotAllowed:
            return _failure(request, _NOT_ALLOWED)
        if user.role is Role.WRITER and request.query.get("readonly") == "1":
            user = NOBODY  # who may do all and asks to change nothing is held to that, as a server would
        writes = user.role is Role.WRITER
        self._requests[writes] += 1
        try:
            wanted = await self._read(request, user)
            answer = await self._run(wanted, self._threads[writes])
        except QueryFailed as failed:
            return _failure(request, failed)
        finally:
            self._requests[writes] -= 1
        return await _send(request, answer)

    async def _run(self, wanted: Request, threads: ThreadPoolExecutor) -> Answer:
        job = threads.submit(self._engine.run, wanted)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:  # who asked has gone, and nobody waits for the answer
            job.cancel()
            while not job.done():  # again, for it may not have begun when it was to be ended
                await asyncio.to_thread(self._engine.cancel, wanted)
                await asyncio.sleep(_CANCEL_EVERY_S)
            raise

    async def _read(self, request: web.Request, user: User) -> Request:
        if self._requests[user.role is Role.WRITER] > REQUESTS_MAX:
            raise QueryFailed(
                202,
                f"Code: 202. DB::Exception: {REQUESTS_MAX} requests are waiting. (TOO_MANY_SIMULTANEOUS_QUERIES)",
            )
        try:
            # Parameters too long for a URL come as a form; clickhouse-connect decides so by itself.
            if request.content_type == "multipart/form-data":
                fields = {k: v for k, v in (await request.post()).items() if isinstance(v, str)}
                query, body = {**request.query, **fields}, b""
            else:
                raw = await request.read()
                body = decompressed(raw, request.headers.get("Content-Encoding", "identity"), self._body_bytes_max)
                query = dict(request.query)
        except web.HTTPRequestEntityTooLarge:
            raise too_large(self._body_bytes_max) from None
        except ValueError as error:
            raise QueryFailed(27, "Code: 27. DB::Exception: the form cannot be read. (CANNOT_PARSE_INPUT)") from error
        timeout = query.get("session_timeout", "60")
        return Request(
            sql=query["query"].encode() if "query" in query else body,
            data=body if "query" in query else b"",
            database=query.get("database") or "default",
            params={k.removeprefix("param_"): v for k, v in query.items() if k.startswith("param_")},
            settings=settings_in(query),
            format=request.headers.get("X-ClickHouse-Format") or query.get("default_format") or "TabSeparated",
            session=query.get("session_id"),
            session_timeout_s=int(timeout) if timeout.isdecimal() else 60,
            read_only=request.method == "GET",  # as ClickHouse: what a link or an image can fetch changes nothing
            user=user,
        )


def settings_in(query: Mapping[str, str]) -> dict[str, str]:
    """The settings among the parameters of a URL."""
    return {k: v for k, v in query.items() if k not in _INTERFACE and not k.startswith("param_")}


@web.middleware
async def _no_browsers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses what a web page can send to loopback: another origin, a rebound name, an image's address."""
    host = request.host.rsplit(":", 1)[0].strip("[]") if "]" not in request.host else request.host.split("]")[0][1:]
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers or host not in LOOPBACK:
        return web.Response(status=403, text="This store serves programs on this machine, not web pages.\n")
    return await handler(request)


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


def _headers(request: web.Request) -> dict[str, str]:
    query_id = request.query.get("query_id", "")
    return {
        "X-ClickHouse-Query-Id": query_id if query_id.isprintable() and query_id else str(uuid.uuid4()),
        "X-ClickHouse-Server-Display-Name": "turnlog",
        "X-ClickHouse-Timezone": "UTC",
    }


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """In one go when it is small, else in chunks and as fast as they are taken."""
    headers = _headers(request) | {"X-ClickHouse-Summary": json.dumps(answer.summary)}
    if answer.format is not None:
        headers["X-ClickHouse-Format"] = answer.format
    json_like = answer.format is not None and answer.format.startswith("JSON")
    content_type = "application/json" if json_like else "application/octet-stream"
    encoding = None
    if request.query.get("enable_http_compression") == "1":
        encoding = encoding_for(request.headers.get("Accept-Encoding", ""), len(answer.body))
    if encoding is None and len(answer.body) <= PIECE_BYTES:
        return web.Response(body=answer.body, headers=headers, content_type=content_type)
    response = web.StreamResponse(headers=headers | ({"Content-Encoding": encoding} if encoding else {}))
    response.content_type = content_type
    await response.prepare(request)
    parts = pieces(answer.body, encoding)
    while (piece := await asyncio.to_thread(next, parts, None)) is not None:
        await response.write(piece)
    await response.write_eof()
    return response


def _failure(request: web.Request, failed: QueryFailed) -> web.Response:
    status = 404 if failed.code in _NOT_FOUND else 503 if failed.code in _BUSY else 500
    if failed.code in _FORBIDDEN:
        status = 403
    return web.Response(
        status=status, text=str(failed), headers=_headers(request) | {"X-ClickHouse-Exception-Code": str(failed.code)}
    )
