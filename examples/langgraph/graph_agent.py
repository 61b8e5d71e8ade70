"""A LangGraph agent in Runcast: a graph of two nodes, `model` and `tools`, that go round until nothing is called.

The model is any server with an OpenAI-compatible API. The tools are Runcast's: sandboxed, streamed and in the log.
"""

import asyncio
import json
import operator
import os
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langsmith import tracing_context
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from runcast_worker.python import NextIteration, Say, Step, Task, Think, ToolFailed, Used

INSTRUCTIONS = "You work in a folder of files. Look before you answer, and be brief."
TURNS = 25
"""Of the model; each takes two steps of the graph."""


class State(TypedDict):
    """`messages` as the API takes them; what a node returns is added to them."""

    messages: Annotated[list[Any], operator.add]


async def run(task: Task) -> AsyncIterator[Step]:
    """The agent's function. `options`: {model?, base_url?, instructions?}; without them RUNCAST_LLM_MODEL and
    RUNCAST_LLM_BASE_URL, or OPENAI_BASE_URL. The key is OPENAI_API_KEY's."""
    said = [{"role": message.role, "content": message.content} for message in await task.conversation()]
    system = {"role": "system", "content": str(task.options.get("instructions", INSTRUCTIONS))}
    start = State(messages=[system, *said, {"role": "user", "content": task.prompt}])
    key = os.environ.get("OPENAI_API_KEY", "none")  # a server of your own may need none
    with tracing_context(enabled=False):  # nothing is sent to LangSmith
        async with AsyncOpenAI(base_url=base_url(task), api_key=key) as client:
            graph = build(task, client)
            async for step in graph.astream(start, {"recursion_limit": 2 * TURNS}, stream_mode="custom"):
                yield step


def model_of(task: Task) -> str:
    name = task.model or task.options.get("model") or os.environ.get("RUNCAST_LLM_MODEL")
    if not name:
        raise ValueError("no model: set RUNCAST_LLM_MODEL for the worker, or `model` in the agent's options")
    return str(name)


def base_url(task: Task) -> str | None:
    """None: the client itself reads OPENAI_BASE_URL, else it is OpenAI's."""
    return task.options.get("base_url") or os.environ.get("RUNCAST_LLM_BASE_URL") or None


def build(task: Task, client: AsyncOpenAI) -> Any:
    """The graph; its nodes write steps to the stream, which `run` yields."""
    model_name = model_of(task)
    tools: list[Any] = [
        {
            "type": "function",
            "function": {"name": offer.name, "description": offer.description, "parameters": offer.parameters},
        }
        for offer in task.tools
    ]

    async def model(state: State) -> State:
        tell = get_stream_writer()
        if state["messages"][-1]["role"] == "tool":
            tell(NextIteration())
        turn = Turn(model_name)
        stream = await client.chat.completions.create(
            model=model_name,
            messages=state["messages"],
            tools=tools,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            for step in turn.steps(chunk):
                tell(step)
        return State(messages=[turn.message])

    async def call_tools(state: State) -> State:
        calls = state["messages"][-1]["tool_calls"]
        results = await asyncio.gather(*(answer(task, call["function"]) for call in calls))
        return State(
            messages=[
                {"role": "tool", "tool_call_id": call["id"], "content": result}
                for call, result in zip(calls, results, strict=True)
            ]
        )

    def onward(state: State) -> str:
        return "tools" if state["messages"][-1].get("tool_calls") else END

    graph = StateGraph(State)
    graph.add_node("model", model)
    graph.add_node("tools", call_tools)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", onward)
    graph.add_edge("tools", "model")
    return graph.compile()


class Turn:
    """One answer of the model, put together from its chunks."""

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name
        self._text = ""
        self._calls: dict[int, dict[str, str]] = {}

    def steps(self, chunk: ChatCompletionChunk) -> Iterator[Step]:
        if chunk.usage is not None:
            details = chunk.usage.prompt_tokens_details
            cached = (details.cached_tokens if details else None) or 0
            yield Used(self._model_name, chunk.usage.prompt_tokens, chunk.usage.completion_tokens, cached)
        for choice in chunk.choices:
            # Reasoning has no field of its own in this API; many servers send it so.
            if thought := getattr(choice.delta, "reasoning_content", None):
                yield Think(thought)
            if choice.delta.content:
                self._text += choice.delta.content
                yield Say(choice.delta.content)
            for part in choice.delta.tool_calls or []:
                call = self._calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                call["id"] = part.id or call["id"]
                if part.function is not None:
                    call["name"] += part.function.name or ""
                    call["arguments"] += part.function.arguments or ""

    @property
    def message(self) -> dict[str, Any]:
        """As the API wants it back."""
        message: dict[str, Any] = {"role": "assistant", "content": self._text}
        if self._calls:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for call in self._calls.values()
            ]
        return message


async def answer(task: Task, function: dict[str, Any]) -> str:
    """What the model is told of a call; a failure too is for it to read."""
    try:
        arguments = json.loads(function["arguments"] or "{}")
        return json.dumps(await task.call(function["name"], **arguments), ensure_ascii=False)
    except (ValueError, TypeError):
        return f"error: the arguments are no JSON object: {function['arguments']}"
    except ToolFailed as failed:
        return f"error: {failed.code}: {failed.message}"
