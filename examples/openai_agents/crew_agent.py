"""An agent of the OpenAI Agents SDK in Runcast: its loop, Runcast's tools, and one tool of its own.

The model is any server with an OpenAI-compatible API. Runcast's tools tell of themselves; a tool of the agent's own is
reported with ToolStarted and ToolEnded.
"""

import json
import os
from collections.abc import AsyncIterator
from typing import Any

from agents import (
    Agent,
    FunctionTool,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    function_tool,
)
from agents.items import ToolCallItem, ToolCallOutputItem
from agents.tool_context import ToolContext
from openai import AsyncOpenAI

from runcast_worker.python import NextIteration, Offer, Say, Step, Task, Think, ToolEnded, ToolFailed, ToolStarted, Used

INSTRUCTIONS = "You work in a folder of files. Look before you answer, and be brief."
TURNS = 25


@function_tool
def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


async def run(task: Task) -> AsyncIterator[Step]:
    """The agent's function. `options`: {model?, base_url?, instructions?}; without them RUNCAST_LLM_MODEL and
    RUNCAST_LLM_BASE_URL, or OPENAI_BASE_URL. The key is OPENAI_API_KEY's."""
    said: list[Any] = [{"role": message.role, "content": message.content} for message in await task.conversation()]
    key = os.environ.get("OPENAI_API_KEY", "none")  # a server of your own may need none
    async with AsyncOpenAI(base_url=base_url(task), api_key=key) as client:
        model_name = model_of(task)
        agent = Agent(
            name="worker",
            instructions=str(task.options.get("instructions", INSTRUCTIONS)),
            model=OpenAIChatCompletionsModel(model_name, client),
            model_settings=ModelSettings(include_usage=True),
            tools=[count_words, *(runcast_tool(task, offer) for offer in task.tools)],
        )
        running = Runner.run_streamed(
            agent,
            [*said, {"role": "user", "content": task.prompt}],
            max_turns=TURNS,
            run_config=RunConfig(tracing_disabled=True),  # nothing is sent to OpenAI's dashboard
        )
        steps = Steps(model_name)
        try:
            async for event in running.stream_events():
                for step in steps.of(event):
                    yield step
        finally:
            running.cancel()


def model_of(task: Task) -> str:
    name = task.model or task.options.get("model") or os.environ.get("RUNCAST_LLM_MODEL")
    if not name:
        raise ValueError("no model: set RUNCAST_LLM_MODEL for the worker, or `model` in the agent's options")
    return str(name)


def base_url(task: Task) -> str | None:
    """None: the client itself reads OPENAI_BASE_URL, else it is OpenAI's."""
    return task.options.get("base_url") or os.environ.get("RUNCAST_LLM_BASE_URL") or None


def runcast_tool(task: Task, offer: Offer) -> FunctionTool:
    """One of Runcast's tools as the SDK takes them: it runs in the sandbox and tells its own events."""

    async def invoke(_: ToolContext[Any], arguments: str) -> str:
        try:
            return json.dumps(await task.call(offer.name, **json.loads(arguments or "{}")), ensure_ascii=False)
        except (ValueError, TypeError):
            return f"error: the arguments are no JSON object: {arguments}"
        except ToolFailed as failed:  # for the model to read
            return f"error: {failed.code}: {failed.message}"

    return FunctionTool(offer.name, offer.description, dict(offer.parameters), invoke, strict_json_schema=False)


class Steps:
    """From the SDK's events to steps."""

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name
        self._turns = 0
        self._own: set[str] = set()  # ids of the calls of the agent's own tools

    def of(self, event: Any) -> list[Step]:
        if event.type == "raw_response_event":
            return self._raw(event.data)
        if event.type == "run_item_stream_event":
            return self._item(event.item)
        return []

    def _raw(self, data: Any) -> list[Step]:
        match data.type:
            case "response.created":
                self._turns += 1
                return [NextIteration()] if self._turns > 1 else []
            case "response.output_text.delta":
                return [Say(data.delta)]
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                return [Think(data.delta)]
            case "response.completed" if data.response.usage is not None:
                usage = data.response.usage
                cached = usage.input_tokens_details.cached_tokens or 0
                return [Used(self._model_name, usage.input_tokens, usage.output_tokens, cached)]
        return []

    def _item(self, item: Any) -> list[Step]:
        raw = item.raw_item
        if isinstance(item, ToolCallItem) and raw.name == count_words.name:
            self._own.add(raw.call_id)
            return [ToolStarted(raw.call_id, raw.name, json.loads(raw.arguments or "{}"))]
        if isinstance(item, ToolCallOutputItem) and raw["call_id"] in self._own:
            return [ToolEnded(raw["call_id"], item.output)]
        return []
