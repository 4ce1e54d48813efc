"""The simulated provider as an OpenAI client sees it."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from runtime.errors import ProviderFailed
from runtime.models.simulated import serve, serve_in_thread
from runtime.models.simulated.latency import FIRST_US_MAX, FIRST_US_MIN, SPEEDS
from runtime.models.simulated.server import BODY_BYTES_MAX

TOOLS = [
    {"type": "function", "function": {"name": "later", "description": 'No time. Examples: "call me later"'}},
    {"type": "function", "function": {"name": "no_interest", "description": 'Examples: "not interested"'}},
    {"type": "function", "function": {"name": "again", "description": "Otherwise this one."}},
    {
        "type": "function",
        "function": {
            "name": "slot",
            "description": 'A day. Examples: "Monday", "Friday"',
            "parameters": {"properties": {"day": {"enum": ["Monday", "Friday"]}, "note": {}, "n": {"type": "integer"}}},
        },
    },
]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serve() as url:
        yield url


async def post(url: str, body: Any, **more: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/chat/completions", json=body, **more) as answer:
        return answer.status, await answer.json()


def asked(words: str, **more: Any) -> dict[str, Any]:
    return {"model": "sim-large", "seed": 5, "messages": [{"role": "user", "content": words}]} | more


async def stream(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/chat/completions", json=body | {"stream": True}) as answer,
    ):
        assert answer.status == 200
        assert answer.headers["turnlog-declares"]
        lines = (await answer.text()).split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


@pytest.mark.parametrize(
    ("words", "tool"),
    [
        ("Could you call me later?", "later"),
        ("I'm NOT interested.", "no_interest"),
        ("Friday would do", "slot"),
        ("What?", "again"),
        ("", "again"),
    ],
)
async def test_the_tool_whose_phrase_was_said_fires(url: str, words: str, tool: str) -> None:
    status, answer = await post(url, asked(words, tools=TOOLS))
    assert status == 200
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == tool


async def test_arguments_are_taken_from_the_words(url: str) -> None:
    _, answer = await post(url, asked("Friday at 4", tools=TOOLS))
    function = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    assert json.loads(function["arguments"]) == {"day": "Friday", "note": "Friday at 4", "n": 4}


async def test_an_answer_is_one_of_the_prompts_own_sentences(url: str) -> None:
    prompt = 'Say it kindly: "Thank you for your time today." or "Many thanks for your time."'
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": "Bye"}]
    said = set()
    for seed in range(20):
        _, answer = await post(url, asked("", messages=messages, seed=seed))
        said.add(answer["choices"][0]["message"]["content"])
    assert said == {"Thank you for your time today.", "Many thanks for your time."}


async def test_a_stream_says_the_same_as_a_whole_answer_and_when(url: str) -> None:
    chunks = await stream(url, asked("Hello there"))
    _, whole = await post(url, asked("Hello there"))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    at = [chunk["turnlog_at_us"] for chunk in chunks]
    assert at == sorted(set(at))
    assert FIRST_US_MIN <= at[0] <= FIRST_US_MAX
    assert whole["turnlog_at_us"] == at[-1]
    assert await stream(url, asked("Hello there")) == chunks
    assert await stream(url, asked("Hello there", seed=6)) != chunks


async def test_it_can_really_take_its_time() -> None:
    async with serve(wait=True) as url:
        began_s = time.monotonic()
        chunks = await stream(url, asked("Hello", model="sim-small"))
        took_us = (time.monotonic() - began_s) * 1e6
    assert took_us >= chunks[-1]["turnlog_at_us"] - 2_000


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"model": 3}, 400, "`model`"),
        ({"model": "sim-large"}, 400, "`messages`"),
        (asked("x", tools="x"), 400, "`tools`"),
        (asked("x", tools=[{"function": {}}]), 400, "`tools`"),
        (asked("x", seed="x"), 400, "`seed`"),
        ([], 400, "`model`"),
        (asked("x", model="gpt"), 404, "sim-large"),
        (asked("x" * BODY_BYTES_MAX), 413, "bytes"),
    ],
)
async def test_errors_have_openais_shape(url: str, body: Any, status: int, says: str) -> None:
    got, answer = await post(url, body)
    assert got == status
    assert says in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"


async def test_what_is_not_json_is_refused(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/chat/completions", data=b"{") as answer:
        assert answer.status == 400


async def test_it_lists_its_models(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/models") as answer:
        assert {model["id"] for model in (await answer.json())["data"]} == set(SPEEDS)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.test"])
async def test_it_serves_this_machine_only(host: str) -> None:
    with pytest.raises(ProviderFailed, match="loopback"):
        async with serve(host):
            pass


async def test_a_taken_port_is_named(url: str) -> None:
    port = int(url.split(":")[2].split("/", maxsplit=1)[0])
    with pytest.raises(ProviderFailed, match=f"port {port} is taken"):
        async with serve(port=port):
            pass


def test_it_serves_from_a_thread() -> None:
    with serve_in_thread() as url:
        assert url.startswith("http://127.0.0.1:")
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(ProviderFailed, match="taken"), serve_in_thread(port):
            pass
