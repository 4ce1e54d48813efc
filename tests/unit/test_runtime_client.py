"""litellm as we use it, against the simulated provider and against broken ones."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from runtime.errors import ProviderFailed
from runtime.models import Ask, Delta, LiteLlm, Message, Provider
from runtime.models.simulated import serve
from runtime.voice import RealClock, VirtualClock

PICK = {"type": "function", "function": {"name": "pick", "description": "Otherwise.", "parameters": {"properties": {}}}}
HELLO = Ask("sim-small", (Message("user", "Hello"),), (), seed=3)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[LiteLlm]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with LiteLlm(Provider("fake", f"http://127.0.0.1:{runner.addresses[0][1]}/v1")) as model:
            yield model
    finally:
        await runner.cleanup()


async def collect(model: LiteLlm, ask: Ask = HELLO, start_us: int = 1_000_000) -> list[Delta]:
    return [delta async for delta in model.complete(ask, VirtualClock(start_us))]


async def test_every_chunk_bears_the_time_that_the_provider_declared() -> None:
    async with serve() as url, LiteLlm(Provider("simulated", url)) as model:
        deltas = await collect(model)
        later = await collect(model, start_us=2_000_000)
    assert "".join(delta.text for delta in deltas) == "Thank you, I have noted that. Is there anything else?"
    times = [delta.at_us for delta in deltas]
    assert times == sorted(times)
    assert times[0] > 1_100_000
    assert [delta.at_us - 1_000_000 for delta in later] == times
    assert [delta.finished for delta in deltas] == [False] * (len(deltas) - 1) + [True]


async def test_a_tool_call_arrives_in_pieces() -> None:
    async with serve() as url, LiteLlm(Provider("simulated", url)) as model:
        deltas = await collect(model, Ask("sim-large", (Message("user", "Hi"),), (PICK,), 1))
    parts = [part for delta in deltas for part in delta.tools]
    assert parts[0].name == "pick"
    assert "".join(part.arguments for part in parts) == "{}"


async def test_on_the_real_clock_the_time_is_the_arrival() -> None:
    clock = RealClock()
    began_us = clock.now_us()
    async with serve() as url, LiteLlm(Provider("simulated", url)) as model:
        deltas = [delta async for delta in model.complete(HELLO, clock)]
    assert all(began_us < delta.at_us <= clock.now_us() for delta in deltas)


async def test_connections_are_kept_between_answers() -> None:
    peers = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(
            b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","turnlog_at_us":5,'
            b'"choices":[{"index":0,"delta":{"content":"Hi."},"finish_reason":null}]}\n\n'
            b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","turnlog_at_us":9,'
            b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        )
        return response

    async with answering(answer) as model:
        for _ in range(4):
            assert [(d.at_us, d.text) for d in await collect(model, start_us=0)] == [(5, "Hi."), (9, "")]
    assert len(peers) == 1


async def test_a_refusal_names_the_status_and_repeats_no_word() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "the caller said +1 555 123 4567"}}, status=429)

    async with answering(answer) as model:
        with pytest.raises(ProviderFailed, match="429") as failed:
            await collect(model)
    assert "555" not in str(failed.value)
    assert "+1 555 123 4567" in failed.value.quoted  # for the content topic


@pytest.mark.parametrize("body", [b"data: {nonsense\n\n", b"<html>", b'data: {"error":{"message":"overloaded"}}\n\n'])
async def test_a_stream_that_breaks_is_a_failure_of_the_provider(body: bytes) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="text/event-stream")

    async with answering(answer) as model:
        with pytest.raises(ProviderFailed):
            await collect(model)


async def test_nobody_listening_is_a_failure_of_the_provider() -> None:
    async with LiteLlm(Provider("gone", "http://127.0.0.1:9/v1")) as model:
        with pytest.raises(ProviderFailed, match="gone"):
            await collect(model)


async def test_an_undeclared_time_is_refused_on_the_virtual_clock() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        body = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
        return web.Response(body=body, content_type="text/event-stream")

    async with answering(answer) as model:
        with pytest.raises(ProviderFailed, match="real clock"):
            await collect(model)
