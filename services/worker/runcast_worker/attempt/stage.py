"""What an engine is given for one attempt: where it works, its tools and their servers, the session's memory."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from runcast_agents import Agent
from runcast_events.patience import patiently
from runcast_events.publisher import Publisher
from runcast_tasks.board import Board
from runcast_tasks.claim import Claim
from runcast_tasks.conversation import read_conversation
from runcast_tasks.inputs import Input, Inputs
from runcast_tasks.outputs import Outputs
from runcast_tasks.takeover import read_takeover
from runcast_worker.attempt.writer import Writer
from runcast_worker.deps import Deps
from runcast_worker.engines import EngineTask
from runcast_worker.toolbox.journal import Journal
from runcast_worker.toolbox.toolbox import Toolbox
from runcast_worker.tools import Surroundings, Tool
from runcast_worker.workspace import Workspace


@asynccontextmanager
async def open_stage(
    deps: Deps,
    claim: Claim,
    agent: Agent,
    workspace: Workspace,
    writer: Writer,
    publisher: Publisher,
) -> AsyncIterator[EngineTask]:
    """Until the block ends; then nothing of it runs any more. A store that is away is waited for.
    Raises EngineError."""
    keys = claim.hold.keys
    found = await patiently(lambda: read_takeover(deps.events, keys, claim.record.id))
    publisher.remember(found.checkpoint, found.journal)
    writer.board, writer.journal = Board(found.plan), Journal(found.journal)
    surroundings = Surroundings(
        workspace.folder,
        agent.read_only,
        deps.sandbox,
        agent.sandbox,
        agent.fetch_allow,
        lambda: writer.board.phases,
    )
    async with AsyncExitStack() as stack:
        toolbox = Toolbox(
            surroundings,
            agent.tools,
            publisher.acknowledged,
            deps.metrics,
            more=await _served(stack, agent, surroundings),
            redactor=deps.redactor,
            journal=writer.journal,
            idempotent=agent.idempotent_tools,
            approve=agent.approve,
            outputs=Outputs(deps.events, claim.hold, deps.settings.outputs_max_bytes),
        )
        await stack.enter_async_context(toolbox)
        conversation = partial(patiently, partial(read_conversation, deps.events, keys, claim.record.id))
        heard = Inputs(deps.events, claim.hold)

        async def inputs(*, last: bool = False) -> Sequence[Input]:
            return await patiently(partial(heard.read, last=last))

        yield EngineTask(
            claim.record,
            agent,
            surroundings,
            toolbox,
            conversation,
            deps.redactor,
            found.checkpoint,
            inputs,
            deps.metrics,
        )


async def _served(stack: AsyncExitStack, agent: Agent, surroundings: Surroundings) -> Sequence[Tool]:
    """The tools of the agent's MCP servers."""
    if not agent.mcp:
        return ()
    # It takes long to import: only for who has such an agent, when the worker starts (deps.py).
    from runcast_worker.mcp import open_tools

    return await stack.enter_async_context(open_tools(agent.mcp, surroundings, os.environ))
