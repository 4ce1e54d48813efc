"""Serves the simulated provider over HTTP on loopback; decides nothing about a call.

Two modes: declare only (the default; the answer comes at once and says when it would have come, for the
virtual clock) or `wait=True` (it really takes that long, for the real clock). Both declare the same times.
"""

import asyncio
import ipaddress
import queue
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web

from runtime.errors import ProviderFailed
from runtime.models.simulated import latency, policy, wire

BODY_BYTES_MAX = 512 * 1024
DECLARED_HEADER = "turnlog-declares"


@asynccontextmanager
async def serve(host: str = "127.0.0.1", port: int = 0, *, wait: bool = False) -> AsyncIterator[str]:
    """Serve in this event loop; gives the base URL (`http://127.0.0.1:PORT/v1`). Raises ProviderFailed when the
    address is not loopback or is taken.
    """
    if not _is_loopback(host):
        raise ProviderFailed("simulated", "it listens on loopback only")
    runner = web.AppRunner(_app(wait), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            raise ProviderFailed("simulated", f"port {port} is taken") from None
        yield f"http://{f'[{host}]' if ':' in host else host}:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@contextmanager
def serve_in_thread(port: int = 0, *, wait: bool = False) -> Iterator[str]:
    """The same in a thread of its own, for a program without an event loop; gives the base URL."""
    told: queue.Queue[str | BaseException] = queue.Queue()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        try:
            async with serve(port=port, wait=wait) as url:
                told.put(url)
                await stop.wait()
        except ProviderFailed as failure:
            told.put(failure)

    def main() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=main, name="simulated-provider", daemon=True)
    thread.start()
    url = told.get()
    if isinstance(url, BaseException):
        thread.join()
        raise url
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _app(wait: bool) -> web.Application:
    async def completions(request: web.Request) -> web.StreamResponse:
        return await _complete(request, wait)

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_post("/v1/chat/completions", completions)
    app.router.add_get("/v1/models", _models)
    return app


async def _models(_: web.Request) -> web.Response:
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "turnlog"} for name in latency.SPEEDS]
    return web.json_response({"object": "list", "data": models})


async def _complete(request: web.Request, wait: bool) -> web.StreamResponse:
    started_s = time.monotonic()
    try:
        asked = wire.read(await request.read())
    except wire.BadRequest as problem:
        return web.json_response(wire.error(str(problem), "invalid_request_error"), status=400)
    except web.HTTPRequestEntityTooLarge:
        text = f"the body has more than {BODY_BYTES_MAX} bytes"
        return web.json_response(wire.error(text, "invalid_request_error"), status=413)
    if asked.model not in latency.SPEEDS:
        text = f"there is no such model; use one of {sorted(latency.SPEEDS)}"
        return web.json_response(wire.error(text, "invalid_request_error"), status=404)
    parts = _answer(asked)
    answer_id = f"chatcmpl-{asked.seed & 0xFFFFFFFF:08x}"
    headers = {DECLARED_HEADER: "microseconds-from-request"}
    if not asked.stream:
        await _until(started_s, parts[-1], wait)
        return web.json_response(wire.whole(parts, asked.model, answer_id), headers=headers)
    if not wait:  # one write: nobody waits for the pieces, and each write costs
        body = b"".join(wire.chunk(part, asked.model, answer_id) for part in parts) + wire.DONE
        return web.Response(body=body, content_type="text/event-stream", headers=headers)
    return await _stream(request, asked, parts, started_s, headers | {"Content-Type": "text/event-stream"})


async def _stream(
    request: web.Request, asked: wire.Asked, parts: list[wire.Part], started_s: float, headers: dict[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    answer_id = f"chatcmpl-{asked.seed & 0xFFFFFFFF:08x}"
    try:
        for part in parts:
            await _until(started_s, part, wait=True)
            await response.write(wire.chunk(part, asked.model, answer_id))
        await response.write(wire.DONE)
        await response.write_eof()
    except ConnectionError:
        pass  # the caller spoke again and the client cut us off, as it should
    return response


async def _until(started_s: float, part: wire.Part, wait: bool) -> None:
    if wait:
        await asyncio.sleep(max(0.0, started_s + part.at_us / 1e6 - time.monotonic()))


def _answer(asked: wire.Asked) -> list[wire.Part]:
    chance = random.Random(asked.seed)
    deltas: list[dict[str, Any]]
    if asked.tools:
        name, arguments = policy.choose(asked.tools, asked.last_words, chance)
        deltas, finish = wire.tool_deltas(name, arguments, f"call_{asked.seed & 0xFFFFFFFF:08x}"), "tool_calls"
    else:
        deltas, finish = wire.text_deltas(policy.pieces(policy.answer(asked.system, chance))), "stop"
    sent = latency.offsets_us(asked.model, len(deltas) + 1, chance)
    parts = [wire.Part(at_us, delta) for at_us, delta in zip(sent, deltas, strict=False)]
    return [*parts, wire.Part(sent[-1], {}, finish)]
