"""What else reads a model's stream: `python -m benchmarks.readers READER BASE_URL MODEL STREAMS` reads it that
often, one after the other, and prints what it took as a line of JSON."""

import asyncio
import json
import os
import sys
from time import perf_counter, process_time

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta, UserPromptPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from benchmarks.stack import cores

WARM = "stub-flood-100"


async def openai_alone(base_url: str, model: str) -> int:
    """Returns how many characters it read."""
    size = 0
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "go"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            size += len(chunk.choices[0].delta.content or "") if chunk.choices else 0
    return size


async def pydantic_ai_model(base_url: str, model: str) -> int:
    """Its model without its agent: what the llm engine is built on."""
    request = [ModelRequest(parts=[UserPromptPart("go")])]
    async with model_request_stream(_model(base_url, model), request) as stream:
        return sum([_size(event) async for event in stream])


async def pydantic_ai_agent(base_url: str, model: str) -> int:
    """Its agent's loop, and nothing done with what it says."""
    size = 0
    agent = Agent(_model(base_url, model))
    async with agent.iter("go") as run:
        async for node in run:
            if Agent.is_model_request_node(node):
                async with node.stream(run.ctx) as stream:
                    async for event in stream:
                        size += _size(event)
    return size


def _model(base_url: str, model: str) -> OpenAIChatModel:
    return OpenAIChatModel(model, provider=OpenAIProvider(base_url=base_url, api_key="none"))


def _size(event: object) -> int:
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return len(event.delta.content_delta)
    return len(event.part.content) if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart) else 0


READERS = {"openai": openai_alone, "pydantic-ai-model": pydantic_ai_model, "pydantic-ai-agent": pydantic_ai_agent}


async def _read(how: str, base_url: str, model: str, streams: int) -> None:
    read = READERS[how]
    await read(base_url, WARM)
    began, cpu_s = perf_counter(), process_time()
    size = sum([await read(base_url, model) for _ in range(streams)])
    print(json.dumps({"characters": size, "wall_s": perf_counter() - began, "cpu_s": process_time() - cpu_s}))


if __name__ == "__main__":
    if pinned := cores():
        os.sched_setaffinity(0, {pinned[0]})
    asyncio.run(_read(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
