"""Keeps connections to a provider open between streamed answers; asks nothing itself.

openai's client closes a response when it has read `[DONE]`, one step before HTTP's own end of message, and httpx
then throws the connection away: a new TCP and TLS handshake before every answer. So the rest, which is almost
always there already, is read before the close. An answer that is cut is closed at once, as it should be.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx

REST_S_MAX = 0.05
_DONE = b"[DONE]"


class KeepAlive(httpx.AsyncBaseTransport):
    """Another transport, whose event streams are read to their end when they are done."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        stream = response.stream
        if isinstance(stream, httpx.AsyncByteStream):
            response.stream = _ReadToEnd(stream)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


class _ReadToEnd(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self._rest = aiter(stream)
        self._tail = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._rest:
            self._tail = (self._tail + data)[-32:]  # the marker may be split
            yield data

    async def aclose(self) -> None:
        try:
            if _DONE in self._tail:
                async with asyncio.timeout(REST_S_MAX):
                    async for _ in self._rest:
                        pass
        except (TimeoutError, httpx.TransportError):
            pass  # then the connection is lost, and the next answer opens another
        finally:
            await self._stream.aclose()
