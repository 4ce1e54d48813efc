"""Asks models through litellm, streaming; picks no model and builds no prompt.

Times: every chunk is stamped by the call's clock. Our simulated provider declares when a chunk is sent, as
`turnlog_at_us` beside `id` and `choices`; litellm 1.83 to 1.106 copy unknown top-level fields of a chunk onto
theirs. (A field in `delta` survives too, but is dropped with an empty delta, as the last chunk has; `_hidden_params`
and headers are one per response.) A provider that declares nothing is stamped with the real time of arrival.
"""

import asyncio
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx

from runtime.errors import ProviderFailed
from runtime.models.ask import Ask, Delta, Message, Provider, Stamps, ToolPart
from runtime.models.keepalive import KeepAlive

DECLARED_FIELD = "turnlog_at_us"
TIMEOUT_S = 30.0
CONNECTIONS_MAX = 64
TOKENS_MAX = 512  # of one completion: a spoken answer is short
CHUNKS_MAX = 4096
REST_S_MAX = 0.5
_SSE = "text/event-stream"


@lru_cache(maxsize=1)
def _litellm() -> Any:
    """litellm, made quiet. Imported on first use: it takes seconds."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks the network for prices on import
    with warnings.catch_warnings():
        # pydantic warns about litellm's own types, when it builds them on first use: so they are built here.
        warnings.filterwarnings("ignore", message="Item '.*' on TypedDict class", category=UserWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="litellm|pydantic")
        import litellm
        from litellm.types.utils import ModelResponse, ModelResponseStream

        ModelResponse()
        ModelResponse(stream=True)
        ModelResponseStream()
    litellm.telemetry = False
    litellm.suppress_debug_info = True  # it prints hints to stdout on errors
    litellm.disable_streaming_logging = True  # nobody listens, and it assembles every response again
    return litellm


def preload() -> None:
    """Import litellm now, which takes seconds: for a program that shows what it waits for. Any thread may call it."""
    _litellm()


class LiteLlm:
    """One provider, with connections shared by all calls. Use it in `async with`. `transport` is for tests."""

    _warm: ClassVar[bool] = False

    def __init__(self, provider: Provider, transport: httpx.AsyncBaseTransport | None = None) -> None:
        import openai

        self._litellm = _litellm()
        self._address = provider
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
        # A client of our own: litellm's cached ones belong to whichever event loop came first and are never closed.
        self._client = openai.AsyncOpenAI(
            base_url=provider.url,
            api_key=provider.key,
            max_retries=0,
            timeout=TIMEOUT_S,
            http_client=httpx.AsyncClient(
                transport=KeepAlive(transport or httpx.AsyncHTTPTransport(limits=limits)), timeout=TIMEOUT_S
            ),
        )

        self._rests: set[asyncio.Task[None]] = set()  # each lives REST_S_MAX at most

    @property
    def provider(self) -> str:
        return self._address.name

    async def complete(self, ask: Ask, clock: Stamps) -> AsyncIterator[Delta]:
        started_us = clock.now_us()
        chunks = await self._open(ask)
        at_us = started_us
        try:
            for _ in range(CHUNKS_MAX):
                chunk = await self._next(chunks)
                if chunk is None:
                    break
                at_us = clock.stamp(started_us, getattr(chunk, DECLARED_FIELD, None))
                text, tools = _parts(chunk)
                if text or tools:
                    yield Delta(at_us, text, tools)
                if chunk.choices and chunk.choices[0].finish_reason:
                    break
            else:
                raise ProviderFailed(self.provider, f"it sent {CHUNKS_MAX} chunks and no end")
            # Whoever asked has all there is; reading up to the protocol's own end is not theirs to wait for.
            rest, chunks = asyncio.create_task(_finish(chunks)), None
            self._rests.add(rest)
            rest.add_done_callback(self._rests.discard)
            yield Delta(at_us, finished=True)
        finally:
            if chunks is not None:
                await _close(chunks)

    async def _open(self, ask: Ask) -> Any:
        asked: dict[str, Any] = {"tools": list(ask.tools), "tool_choice": "required"} if ask.tools else {}
        try:
            return await self._litellm.acompletion(
                model=f"openai/{ask.model}",
                api_base=self._address.url,
                api_key=self._address.key,
                client=self._client,
                messages=[{"role": m.role, "content": m.text} for m in ask.messages],
                stream=True,
                seed=ask.seed,
                max_tokens=TOKENS_MAX,
                timeout=TIMEOUT_S,
                num_retries=0,
                max_retries=0,
                # Since 1.10x litellm looks at every tool list for MCP, which needs a package of its `proxy` extra.
                _skip_mcp_handler=True,
                **asked,
            )
        except Exception as error:  # noqa: BLE001  the edge: litellm raises its own types, openai's and httpx's
            raise self._failed(error) from None

    async def _next(self, chunks: Any) -> Any:
        try:
            return await anext(chunks, None)
        except Exception as error:  # noqa: BLE001  likewise
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> ProviderFailed:
        # Its type and status say what to do; its text may quote the caller.
        status = getattr(error, "status_code", None)
        what = type(error).__name__ + (f" {status}" if isinstance(status, int) else "")
        return ProviderFailed(self.provider, what, str(error))

    async def aclose(self) -> None:
        await asyncio.gather(*self._rests)
        await self._client.close()

    async def __aenter__(self) -> Self:
        if not LiteLlm._warm:
            LiteLlm._warm = True
            await _warm_up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _finish(chunks: Any) -> None:
    try:
        await _read_rest(chunks)
    finally:
        await _close(chunks)


async def _warm_up() -> None:
    """One answer from nowhere. litellm and openai import hundreds of modules on the first one, which costs up to a
    second: without this the first caller would wait for it, and the first figure would be wrong.
    """
    body = (
        b'data: {"id":"0","choices":[{"index":0,"delta":{"content":"."},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    nowhere = httpx.MockTransport(lambda _: httpx.Response(200, headers={"content-type": _SSE}, content=body))
    model = LiteLlm(Provider("nowhere", "http://nowhere.invalid/v1"), nowhere)
    async for _ in model.complete(Ask("none", (Message("user", "."),)), _NoClock()):
        pass
    await model.aclose()


class _NoClock:
    def now_us(self) -> int:
        return 0

    def stamp(self, started_us: int, declared_us: int | None) -> int:  # noqa: ARG002
        return started_us


def _parts(chunk: Any) -> tuple[str, tuple[ToolPart, ...]]:
    if not chunk.choices:
        return "", ()
    delta = chunk.choices[0].delta
    calls = getattr(delta, "tool_calls", None) or ()
    tools = tuple(ToolPart(c.index or 0, c.function.name or "", c.function.arguments or "") for c in calls)
    return delta.content or "", tools


async def _read_rest(chunks: Any) -> None:
    """Read to `[DONE]`, so that the connection can serve the next answer, past litellm: at the end of its own
    stream it assembles the answer again and looks up prices, a fifth of a completion's CPU, for nobody.
    """
    import openai

    stream = getattr(chunks, "completion_stream", None)
    if stream is None:
        return
    # The answer is whole, so whatever breaks now costs no more than the connection.
    with suppress(TimeoutError, ValueError, httpx.HTTPError, openai.OpenAIError):
        async with asyncio.timeout(REST_S_MAX):
            async for _ in stream:
                pass


async def _close(chunks: Any) -> None:
    """Give the connection back, or drop it at a cut; litellm's wrapper holds the provider's stream inside."""
    close = getattr(getattr(chunks, "completion_stream", None), "close", None)
    if close is not None:
        with suppress(httpx.HTTPError):
            await close()
