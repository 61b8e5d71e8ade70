"""What an agent function is given."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from runcast_events.events import ToolCallComplete
from runcast_tasks.conversation import Message
from runcast_worker.engines import EngineTask, Tools
from runcast_worker.engines.python.mailbox import Forward, Mailbox, OwnCall
from runcast_worker.engines.python.steps import Step
from runcast_worker.tools import ToolFailed


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool that `task.call` takes. `parameters`: JSON schema of its arguments, as models are shown it."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt at one task. `prompt`, `model` and `params` are the request's; `options` are the agent's, from the
    agents file. `workspace`: a folder of the session's own, absolute. `tools`: what the agent may call.
    `checkpoint`: of the last NextIteration that an earlier attempt yielded; None: begin."""

    id: str
    session_id: str
    attempt: int
    prompt: str
    model: str | None
    params: Mapping[str, Any]
    options: Mapping[str, Any]
    workspace: Path
    read_only: bool
    tools: Sequence[Offer]
    checkpoint: Any
    _conversation: Callable[[], Awaitable[Sequence[Message]]] = field(repr=False)
    _tools: Tools = field(repr=False)
    _mailbox: Mailbox = field(repr=False)

    async def conversation(self) -> Sequence[Message]:
        """What was said in the session before this task, oldest first: `role` (user, assistant) and `content`."""
        return await self._conversation()

    async def call(self, name: str, /, **arguments: JsonValue) -> JsonValue:
        """Call one of `tools`, in its sandbox, and return its result. Everything about the call is told by itself.
        Several may run side by side. Raises ToolFailed, with its code and a sentence for the model."""
        iteration, index = await self._mailbox.deliver(OwnCall())
        complete: ToolCallComplete | None = None
        async with aclosing(self._tools.call(iteration, index, name, arguments)) as events:
            async for event in events:
                # One by one: the tool goes on, and first begins, when what was told before is on its way to the log.
                await self._mailbox.deliver(Forward(event))
                if isinstance(event, ToolCallComplete):
                    complete = event
        assert complete is not None
        if complete.error is not None:
            raise ToolFailed(complete.error.code, complete.error.message)
        return complete.result

    async def tell(self, step: Step) -> None:
        """The same as yielding it, from a callback that cannot yield. Waits until it is on its way to the log."""
        await self._mailbox.deliver(step)


def task_for(task: EngineTask, checkpoint: Any, mailbox: Mailbox) -> Task:
    record, where = task.record, task.surroundings
    return Task(
        id=record.id,
        session_id=record.session_id,
        attempt=record.attempt,
        prompt=record.prompt,
        model=record.model,
        params=record.params,
        options=task.agent.options,
        workspace=where.workspace,
        read_only=where.read_only,
        tools=[Offer(tool.name, tool.description, tool.arguments.model_json_schema()) for tool in task.tools.offered],
        checkpoint=checkpoint,
        _conversation=task.conversation,
        _tools=task.tools,
        _mailbox=mailbox,
    )
