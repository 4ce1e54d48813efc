"""OTLP over HTTP: `POST /v1/traces`. Judges requests by their outside, hands spans to the desk, and logs none of it."""

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from ingest.door import otlp, status
from ingest.door.desk import Desk
from ingest.door.limits import (
    BODY_BYTES_MAX,
    BODY_READ_S,
    BODY_UNPACKED_BYTES_MAX,
    REQUESTS_AT_ONCE_MAX,
    RETRY_AFTER_MAX_S,
    SPANS_PER_REQUEST_MAX,
)
from ingest.door.meters import DoorMeters
from ingest.door.rate import Rate

PATH = "/v1/traces"


class Refused(Exception):
    """A request that is not taken. `code` is gRPC's, as OTLP wants it."""

    def __init__(self, http: int, code: int, reason: str, message: str, retry_s: float | None = None) -> None:
        super().__init__(message)
        self.http, self.code, self.reason, self.retry_s = http, code, reason, retry_s


@dataclass(frozen=True, slots=True)
class Guard:
    """What a request has to bring, and how large it may be."""

    token: str = field(default="", repr=False)
    body_bytes_max: int = BODY_BYTES_MAX
    unpacked_bytes_max: int = BODY_UNPACKED_BYTES_MAX
    spans_max: int = SPANS_PER_REQUEST_MAX
    at_once_max: int = REQUESTS_AT_ONCE_MAX
    read_s: float = BODY_READ_S


class Server:
    """The application of aiohttp around one desk."""

    def __init__(
        self,
        desk: Desk,
        meters: DoorMeters,
        guard: Guard | None = None,
        rate: Rate | None = None,
        *,
        content: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk, self._meters, self._content, self._clock = desk, meters, content, clock
        self._guard, self._rate = guard or Guard(), rate or Rate()
        self._token = _digest(self._guard.token)
        self._reading = 0

    def application(self) -> web.Application:
        # A body's limit is ours to state: aiohttp would answer in HTML.
        app = web.Application(client_max_size=0, middlewares=[self._answering])
        app.router.add_post(PATH, self._traces)
        app.router.add_get("/ping", self._ping)
        return app

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="the door is open\n")

    @web.middleware
    async def _answering(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        kind = status.JSON if request.content_type == status.JSON else status.PROTOBUF
        try:
            return await handler(request)
        except Refused as why:
            refused = why
        except web.HTTPException as error:  # no such path or method
            refused = Refused(error.status, 12, "no_such_thing", f"POST {PATH} is all there is")
        self._meters.refused(refused.reason)
        headers = {}
        if refused.retry_s is not None:
            headers["Retry-After"] = str(min(max(1, math.ceil(refused.retry_s)), RETRY_AFTER_MAX_S))
        if refused.http == 401:
            headers["WWW-Authenticate"] = "Bearer"
        body = status.failure(refused.code, str(refused), kind)
        return web.Response(status=refused.http, body=body, content_type=kind, headers=headers)

    async def _traces(self, request: web.Request) -> web.Response:
        self._let_in(request)
        kind = request.content_type
        self._reading += 1
        try:
            async with asyncio.timeout(self._guard.read_s):
                body = await self._body(request)
            taken = await asyncio.to_thread(self._read, body, request.headers.get("Content-Encoding", ""), kind)
            self._rate.charge(len(taken.spans) + sum(taken.refused.values()))
            refused = taken.refused + await asyncio.to_thread(self._desk.take, taken.spans, self._clock())
        except TimeoutError:
            raise Refused(408, 4, "slow", "the body came too slowly: send it again") from None
        except OSError as error:
            why = f"the door cannot write its journal ({error.strerror}): send it again later"
            raise Refused(503, 14, "journal", why, RETRY_AFTER_MAX_S) from None
        finally:
            self._reading -= 1
        self._meters.dropped("attribute", taken.attributes_dropped)
        self._meters.dropped("ours", taken.ours)
        for reason, count in refused.items():
            self._meters.dropped(reason, count)
        return web.Response(body=status.success(refused, kind), content_type=kind)

    def _let_in(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self._guard.token and not (
            hmac.compare_digest(_digest(token.strip()), self._token) and scheme.lower() == "bearer"
        ):
            raise Refused(401, 16, "token", "send the door's token: Authorization: Bearer …")
        if request.content_type not in {status.PROTOBUF, status.JSON}:
            raise Refused(415, 3, "type", f"send Content-Type {status.PROTOBUF} or {status.JSON}")
        if request.headers.get("Content-Encoding", "identity").lower() not in {"gzip", "identity", ""}:
            raise Refused(415, 3, "encoding", "send the body as it is, or with Content-Encoding: gzip")
        if (request.content_length or 0) > self._guard.body_bytes_max:
            raise self._too_large()
        wait_s = self._rate.wait_s(self._clock())
        if wait_s:
            raise Refused(429, 8, "rate", "more spans a second than the door takes: send them again later", wait_s)
        if self._desk.full:
            raise Refused(429, 8, "memory", "the door holds as much as it may: send it again later", RETRY_AFTER_MAX_S)
        if self._reading >= self._guard.at_once_max:
            raise Refused(429, 8, "at_once", "the door reads as many requests as it may: send it again later", 1)

    def _too_large(self) -> Refused:
        most = f"{self._guard.body_bytes_max} bytes"
        return Refused(413, 3, "size", f"a request may have {most}: send fewer spans at once, or gzip them")

    async def _body(self, request: web.Request) -> bytes:
        body = bytearray()
        async for chunk in request.content.iter_chunked(65_536):
            body += chunk
            if len(body) > self._guard.body_bytes_max:
                raise self._too_large()
        return bytes(body)

    def _read(self, body: bytes, encoding: str, kind: str) -> otlp.Taken:
        try:
            if encoding.lower() == "gzip":
                body = otlp.unpack(body, self._guard.unpacked_bytes_max)
            read = otlp.read_json if kind == status.JSON else otlp.read_protobuf
            return read(body, time.time_ns() // 1000, self._content, self._guard.spans_max)
        except otlp.BodyRefused as why:
            http, reason = (413, "size") if why.too_large else (400, "malformed")
            raise Refused(http, 3, reason, str(why)) from None


def _digest(token: str) -> bytes:
    """Of one length, whatever was sent."""
    return hashlib.sha256(token.encode(errors="replace")).digest()
