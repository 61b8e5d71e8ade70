"""The loop: ask the model, run the tools it calls side by side, tell it what they came to, until it answers."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pydantic import JsonValue
from pydantic_ai import ToolDefinition
from pydantic_ai.messages import ToolCallPart, ToolReturnPart
from pydantic_ai.models import ModelRequestParameters

from runcast_events.events import (
    Event,
    IterationComplete,
    IterationReset,
    IterationStart,
    MessageAdded,
    TaskAnalysis,
    ToolCallComplete,
    ToolCallStart,
    Usage,
)
from runcast_worker.engines import EngineTask, HandOver, Saved
from runcast_worker.engines.llm.asking import Asking, AskingLimits
from runcast_worker.engines.llm.history import History
from runcast_worker.engines.llm.models import Models
from runcast_worker.engines.llm.outbox import Outbox
from runcast_worker.tools import Tool

SIDE_BY_SIDE = 8
"""Tools of one iteration that run at a time."""
INSTRUCTIONS = (
    "You are an agent that gets things done with the tools you are given. They work in a folder of your own, the "
    "workspace; paths are relative to it. Look before you change something, check what came of it, and say plainly in "
    "your answer what you did and what you could not do."
)
"""Of an agent that has none of its own."""


class LlmEngine:
    """An engine; see runcast_worker.engines. One iteration is one answer of the model and the tools it calls."""

    def __init__(self, models: Models, limits: AskingLimits) -> None:
        self._models, self._limits = models, limits

    async def run(self, task: EngineTask) -> AsyncGenerator[Event | Saved, None]:
        outbox = Outbox()
        working = asyncio.create_task(self._work(task, outbox), name="llm loop")
        working.add_done_callback(lambda _: outbox.close())
        try:
            async for event in outbox.events():
                yield event
            await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _work(self, task: EngineTask, outbox: Outbox) -> None:
        prompt, again = task.record.prompt, task.record.attempt > 1
        if not again:
            await outbox.put(TaskAnalysis(action_name=_first_line(prompt), goal=prompt.strip()[:500]))
        instructions = task.agent.instructions or INSTRUCTIONS
        history = History.load(instructions, await task.conversation(), prompt, task.checkpoint)
        models = self._models.chain(task.record.model, task.agent)
        asking = Asking(models, self._models.get, task, self._limits, outbox)
        offered = ModelRequestParameters(function_tools=[_definition(tool) for tool in task.tools.offered])
        usage: Usage | None = None
        while True:
            response, iteration = history.unanswered, history.answers
            if response is None:
                iteration += 1
                await _hear(task, history, outbox)
                if again:  # whoever died in it has left open what it said so far
                    await outbox.put(IterationReset(iteration=iteration))
                # Where the worker drains the attempt ends here: before a model is asked.
                await outbox.delivered(IterationStart(iteration=iteration))
                response, usage = await asking.ask(iteration, history, offered)
                history.answered(response)
            again = False
            calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
            if calls:
                history.called(await _use(task, outbox, iteration, calls, history.dump()))
            if not history.ended:  # else another attempt has told it
                await outbox.put(Saved(_complete(iteration, usage), history.dump(ended=not calls)))
            if not calls and not await _hear(task, history, outbox, last=True):
                return


async def _hear(task: EngineTask, history: History, outbox: Outbox, *, last: bool = False) -> bool:
    """Take what was said to the task meanwhile. False: nothing was."""
    told = False
    for each in await task.inputs(last=last):
        if history.heard(each):  # one by one: what a checkpoint holds is no longer waiting to be heard
            told = True
            await outbox.delivered(Saved(MessageAdded(role="user", content=each.text), history.dump(), each))
    return told


def _complete(iteration: int, usage: Usage | None) -> IterationComplete:
    """Without usage where another attempt asked."""
    return IterationComplete(iteration=iteration, **({} if usage is None else {"usage": usage}))


async def _use(
    task: EngineTask, outbox: Outbox, iteration: int, calls: Sequence[ToolCallPart], checkpoint: bytes
) -> list[ToolReturnPart]:
    """Run an answer's calls; what they came to, in the order of the calls. `checkpoint`: with the answer, without the
    results. It is in the log with the first start, before any of the calls begins. Raises HandOver where one waits for
    an approval, when the others have ended."""
    wanted = [
        task.tools.approval(iteration, index, call.tool_name, _arguments(call)[0]) for index, call in enumerate(calls)
    ]
    at_a_time = asyncio.Semaphore(SIDE_BY_SIDE)
    carrier = next((index for index, approval in enumerate(wanted) if approval is None), None)

    async def use(index: int, call: ToolCallPart) -> ToolReturnPart:
        async with at_a_time:
            return await _call(task, outbox, iteration, index, call, checkpoint if index == carrier else None)

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(use(index, call)) for index, call in enumerate(calls) if wanted[index] is None]
    first = next((approval for approval in wanted if approval is not None), None)
    if first is not None:
        raise HandOver(first, checkpoint)
    return [call.result() for call in running]


async def _call(
    task: EngineTask, outbox: Outbox, iteration: int, index: int, call: ToolCallPart, checkpoint: bytes | None
) -> ToolReturnPart:
    arguments, raw = _arguments(call)
    events = task.tools.call(
        iteration, index, call.tool_name, arguments, raw_arguments=raw, provider_id=call.tool_call_id
    )
    ended: ToolCallComplete | None = None
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ToolCallStart):
                # The toolbox goes on when this is in the log, which it can only tell of what was handed over.
                await outbox.delivered(event if checkpoint is None else Saved(event, checkpoint))
            else:
                await outbox.put(event)
            if isinstance(event, ToolCallComplete):
                ended = event
    assert ended is not None, "a call ends with its tool_call_complete"
    if ended.error is not None:  # as the event shows it
        return ToolReturnPart(call.tool_name, {"error": ended.error.model_dump()}, call.tool_call_id)
    return ToolReturnPart(call.tool_name, ended.result, call.tool_call_id)


def _arguments(call: ToolCallPart) -> tuple[dict[str, JsonValue], str | None]:
    """The arguments; or none, and what the model said instead of a JSON object."""
    try:
        return call.args_as_dict(raise_if_invalid=True), None
    except (ValueError, AssertionError):
        return {}, str(call.args)


def _definition(tool: Tool) -> ToolDefinition:
    return ToolDefinition(
        name=tool.name, description=tool.description, parameters_json_schema=tool.arguments.model_json_schema()
    )


def _first_line(prompt: str) -> str:
    return next(iter(prompt.strip().splitlines()), "")[:60]
