"""The stub of a model: what it streams is what OpenAI's own client accepts, its faults are as announced, and it tells
what it was asked."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import httpx2
import openai
import pytest

from runcast_local.model import Call, Cut, Pause, Raw, Refusal, Say, Silence, Stall, Stub, Think, Turn, says, serving
from runcast_local.model.characters import NAMES, example
from tests.conftest import wait_until

USER: dict[str, Any] = {"role": "user", "content": "What is here?"}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}


TOOLS = [tool("list_files", pattern={"type": "string"}), tool("search", query={"type": "string"}), tool("shell")]


@asynccontextmanager
async def opened(stub: Stub) -> AsyncIterator[openai.AsyncOpenAI]:
    async with serving(stub) as url, openai.AsyncOpenAI(base_url=url, api_key="canary", max_retries=0) as client:
        yield client


async def ask(client: openai.AsyncOpenAI, model: str, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Read a whole stream: its text, its reasoning, its calls, its end and its usage."""
    got: dict[str, Any] = {"text": "", "thinking": "", "refusal": "", "calls": {}, "finish": None, "usage": None}
    options = {"model": model, "messages": list(messages) or [USER], "stream": True, **more}
    stream = await client.chat.completions.create(**options)
    async for chunk in stream:
        got["usage"] = chunk.usage or got["usage"]
        for choice in chunk.choices:
            got["text"] += choice.delta.content or ""
            got["refusal"] += choice.delta.refusal or ""
            got["thinking"] += getattr(choice.delta, "reasoning_content", None) or ""
            got["finish"] = choice.finish_reason or got["finish"]
            for piece in choice.delta.tool_calls or ():
                call = got["calls"].setdefault(piece.index, {"id": piece.id, "name": "", "arguments": "", "pieces": 0})
                call["name"] += piece.function.name or ""
                call["arguments"] += piece.function.arguments or ""
                call["pieces"] += 1
    return got


async def test_a_script_is_streamed_as_it_says() -> None:
    """Reasoning, text, then calls side by side whose arguments come in pieces, and usage in the last chunk."""
    script = [
        Turn(
            [
                Think("Hm"),
                Think(", files"),
                *says("I look — at all."),
                Call("list_files", {"pattern": "**/*.py"}, piece=4),
                Call("shell", "no JSON", id="mine"),
            ],
            input_tokens=100,
            output_tokens=20,
            cached_tokens=60,
        ),
        Turn(says("Done.")),
    ]
    async with opened(Stub({"scripted": script})) as client:
        first = await ask(client, "scripted", stream_options={"include_usage": True})
        second = await ask(client, "scripted")
        with pytest.raises(openai.BadRequestError, match="2 answers, and this is request 3"):
            await ask(client, "scripted")
    assert first["thinking"] == "Hm, files"
    assert first["text"] == "I look — at all."
    one, other = first["calls"].values()
    assert (one["name"], json.loads(one["arguments"])) == ("list_files", {"pattern": "**/*.py"})
    assert one["pieces"] > 3
    assert (other["name"], other["arguments"], other["id"]) == ("shell", "no JSON", "mine")
    assert first["finish"] == "tool_calls"
    assert (first["usage"].prompt_tokens, first["usage"].completion_tokens) == (100, 20)
    assert first["usage"].prompt_tokens_details.cached_tokens == 60
    assert (second["text"], second["finish"], second["usage"]) == ("Done.", "stop", None)


async def test_what_does_not_stream_is_the_same_in_one_piece() -> None:
    """As `chat.completion`."""
    async with opened(
        Stub({"scripted": [Turn([Think("Hm"), Say("Yes"), Call("shell", {"command": "ls"})])]})
    ) as client:
        answer = await client.chat.completions.create(model="scripted", messages=[USER])  # type: ignore[list-item]
    message = answer.choices[0].message
    assert message.content == "Yes"
    assert message.tool_calls is not None
    assert message.tool_calls[0].to_dict()["function"] == {"name": "shell", "arguments": '{"command": "ls"}'}
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_the_stub_calls_offered_tools_and_then_quotes_them() -> None:
    """The loop of an agent, with the stub's own model: the arguments fit the tools' schemas."""
    async with opened(Stub()) as client:
        first = await ask(client, "stub", tools=TOOLS)
        calls = list(first["calls"].values())
        assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [
            ("list_files", {"pattern": "*"}),
            ("search", {"query": "the"}),
        ]
        said = {"role": "assistant", "content": first["text"], "tool_calls": []}
        results = [{"role": "tool", "tool_call_id": call["id"], "content": f"from {call['name']}"} for call in calls]
        second = await ask(client, "stub", USER, said, *results, tools=TOOLS)
        assert "from list_files" in second["text"]
        assert "from search" in second["text"]
        assert not second["calls"]
        chosen = {"role": "user", "content": 'Use shell {"command": "date"} now'}
        third = await ask(client, "stub", USER, said, *results, chosen, tools=TOOLS)
        assert [json.loads(call["arguments"]) for call in third["calls"].values()] == [{"command": "date"}]
        assert "You said: What is here?" in (await ask(client, "stub"))["text"]


async def test_errors_that_pass_come_twice_and_then_the_answer() -> None:
    """And again for the next task that says the same; a number in the name says how often."""
    async with opened(Stub()) as client:
        for _ in range(2):
            for _ in range(2):
                with pytest.raises(openai.RateLimitError) as limited:
                    await ask(client, "stub-429")
                assert limited.value.response.headers["retry-after"] == "1"
                assert limited.value.code == "rate_limit_exceeded"
            assert (await ask(client, "stub-429"))["finish"] == "stop"
        with pytest.raises(openai.InternalServerError):
            await ask(client, "stub-503-1")
        assert (await ask(client, "stub-503-1"))["finish"] == "stop"


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("stub-401", openai.AuthenticationError, "invalid_api_key"),
        ("stub-context", openai.BadRequestError, "context_length_exceeded"),
        ("stub-500", openai.InternalServerError, None),
        ("stub-nothing", openai.NotFoundError, "model_not_found"),
    ],
)
async def test_errors_have_openais_form(model: str, error: type[openai.APIStatusError], code: str | None) -> None:
    """OpenAI's client finds their code and their message."""
    async with opened(Stub()) as client:
        with pytest.raises(error) as raised:
            await ask(client, model)
    assert raised.value.code == code
    assert raised.value.message


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("stub-cut", httpx2.RemoteProtocolError),
        ("stub-nonsense", json.JSONDecodeError),
        ("stub-error", openai.APIError),
    ],
)
async def test_a_stream_breaks_half_way(model: str, error: type[Exception]) -> None:
    """After it began to answer."""
    stub = Stub()
    async with opened(stub) as client:
        with pytest.raises((error, openai.APIConnectionError)):
            await ask(client, model)
        await wait_until(lambda: stub.asked[-1].outcome is not None)
    assert stub.asked[-1].sent_at is not None


async def test_a_stream_may_end_without_its_end() -> None:
    """For HTTP it is whole, but no finish_reason came."""
    stub = Stub()
    async with opened(stub) as client:
        got = await ask(client, "stub-half")
    assert (got["text"], got["finish"]) == ("I begin to answer, but", None)
    assert stub.asked[0].outcome == "cut"


@pytest.mark.parametrize("model", ["stub-timeout", "stub-stall"])
async def test_silences_last_until_the_client_leaves(model: str) -> None:
    """From the beginning, or after some words."""
    stub = Stub()
    async with opened(stub) as client:
        with pytest.raises((openai.APITimeoutError, httpx2.ReadTimeout)):
            await ask(client, model, timeout=0.2)
        await wait_until(lambda: stub.asked[0].outcome == "left")
    assert (stub.asked[0].sent_at is None) == (model == "stub-timeout")


async def test_the_moment_in_which_a_client_leaves_is_seen() -> None:
    """Also in a pause: a test can say how soon after a cancel the stream was closed."""
    stub = Stub({"slow": [Turn([Say("One"), Pause(30), Say("two")])]})
    async with opened(stub) as client:
        stream = await client.chat.completions.create(model="slow", messages=[USER], stream=True)  # type: ignore[call-overload]
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        closing = monotonic()
        await stream.close()
        await wait_until(lambda: stub.asked[0].left_at is not None)
    assert stub.asked[0].left_at is not None
    assert 0 <= stub.asked[0].left_at - closing < 1
    assert stub.asked[0].outcome == "left"


async def test_silences_do_not_hold_up_the_end_of_the_stub() -> None:
    """A test that leaves one open ends as soon as it likes."""
    stub = Stub({"mute": [Silence()], "stalls": [Turn([Stall()])]})
    async with httpx2.AsyncClient(timeout=10) as client:
        async with serving(stub) as url:
            bodies = [{"model": name, "messages": [USER], "stream": True} for name in ("mute", "stalls")]
            asking = [asyncio.create_task(client.post(f"{url}/chat/completions", json=body)) for body in bodies]
            await wait_until(lambda: len(stub.asked) == 2)
            began = monotonic()
        await asyncio.gather(*asking, return_exceptions=True)
    assert monotonic() - began < 1.5


async def test_wrong_calls_are_made_until_they_were_told() -> None:
    """Arguments that are no JSON; a tool that there is not; and a model that never ends."""

    def told(name: str) -> list[dict[str, Any]]:
        return [USER, {"role": "assistant", "content": ""}, {"role": "tool", "tool_call_id": name, "content": "wrong"}]

    async with opened(Stub()) as client:
        (bad,) = (await ask(client, "stub-bad-args", tools=TOOLS))["calls"].values()
        with pytest.raises(json.JSONDecodeError):
            json.loads(bad["arguments"])
        (good,) = (await ask(client, "stub-bad-args", *told("a"), tools=TOOLS))["calls"].values()
        assert json.loads(good["arguments"]) == {"pattern": "*"}
        (unknown,) = (await ask(client, "stub-unknown-tool", tools=TOOLS))["calls"].values()
        assert unknown["name"] not in [each["function"]["name"] for each in TOOLS]
        assert "wrong" in (await ask(client, "stub-unknown-tool", *told("a"), tools=TOOLS))["text"]
        assert (await ask(client, "stub-loop", *told("a"), tools=TOOLS))["finish"] == "tool_calls"


async def test_the_other_ends_of_an_answer() -> None:
    """Nothing at all, a refusal, a filter, the length; and very many deltas."""
    async with opened(Stub({"raw": [Turn([Raw(json.dumps({"choices": []})), Say("x")])], "cut": [Turn([Cut()])]})) as c:
        empty, refused = await ask(c, "stub-empty"), await ask(c, "stub-refuse")
        assert (empty["text"], empty["finish"]) == ("", "stop")
        assert refused["refusal"] == "I cannot help with that."
        assert (await ask(c, "stub-filter"))["finish"] == "content_filter"
        assert (await ask(c, "stub-length"))["finish"] == "length"
        assert (await ask(c, "stub-flood-3"))["text"].count("flood") == 3
        assert (await ask(c, "raw"))["text"] == "x"


async def test_it_tells_what_it_was_asked_and_not_the_key() -> None:
    """To a test and, in brief, to a human."""
    stub = Stub({"busy": [Refusal(429, retry_after_s=0.05)]})
    async with serving(stub) as url, httpx2.AsyncClient(base_url=url) as client:
        headers = {"authorization": "Bearer canary-key", "x-test": "yes"}
        answer = await client.post("/chat/completions", json={"model": "busy", "messages": [USER]}, headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "0.05")
        (asked,) = stub.asked
        assert asked.messages == [USER]
        assert (asked.headers["x-test"], asked.headers["authorization"]) == ("yes", "(hidden)")
        stats = (await client.get(f"{url.removesuffix('/v1')}/stats")).json()
        assert (stats["requests"], stats["outcomes"]) == (1, {"busy refused": 1})
        names = [model["id"] for model in (await client.get("/models")).json()["data"]]
        assert names == ["busy", *NAMES]


@pytest.mark.parametrize("body", ["", "{}", '{"model": "stub", "messages": []}', "[1]"])
async def test_a_request_that_is_none_is_told_why(body: str) -> None:
    """A 400 that says what was wrong, and the stub goes on."""
    stub = Stub()
    async with serving(stub) as url, httpx2.AsyncClient(base_url=url) as client:
        answer = await client.post("/chat/completions", content=body)
    assert answer.status_code == 400
    assert "not a request for a completion: " in answer.json()["error"]["message"]
    assert not stub.asked


def test_example_arguments_fit_a_schema() -> None:
    """What is required, by const, default, enum, or type."""
    schema = {
        "properties": {
            "path": {"type": "string"},
            "mode": {"enum": ["a", "b"]},
            "count": {"type": "integer", "default": 7},
            "inner": {"type": "object", "properties": {"flag": {"type": "boolean"}}, "required": ["flag"]},
            "optional": {"type": "string"},
        },
        "required": ["path", "mode", "count", "inner"],
    }
    assert example(schema) == {"path": ".", "mode": "a", "count": 7, "inner": {"flag": False}}
    assert example({}) == {}


async def test_the_command_serves_it() -> None:
    """`python -m runcast_local.model` says where, answers there, and ends by SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runcast_local.model", "--port", "0"), stdout=PIPE, stderr=PIPE, env=os.environ
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            while not (
                found := re.search(
                    r"listening on (http://[^\s\"]+)", line := (await process.stderr.readline()).decode()
                )
            ):
                assert line, "it ended"
        async with httpx2.AsyncClient(base_url=found[1]) as client:
            body = {"model": "stub", "messages": [USER]}
            answer = (await client.post("/v1/chat/completions", json=body)).json()
        assert answer["choices"][0]["message"]["content"] == "You said: What is here?"
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 10)
