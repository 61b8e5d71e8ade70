"""What an engine is given for one attempt: where it works, its tools and their servers, the session's memory."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from runcast_agents import Agent
from runcast_events.patience import patiently
from runcast_tasks.claim import Claim
from runcast_tasks.conversation import read_conversation, read_plan
from runcast_tasks.outputs import Outputs
from runcast_worker.board import Board
from runcast_worker.deps import Deps
from runcast_worker.engines import EngineTask
from runcast_worker.toolbox import Toolbox
from runcast_worker.tools import Surroundings, Tool
from runcast_worker.workspace import Workspace
from runcast_worker.writer import Writer


@asynccontextmanager
async def open_stage(
    deps: Deps,
    claim: Claim,
    agent: Agent,
    workspace: Workspace,
    writer: Writer,
    acknowledged: Callable[[], Awaitable[object]],
) -> AsyncIterator[EngineTask]:
    """Until the block ends; then nothing of it runs any more. A store that is away is waited for.
    Raises EngineError."""
    keys = claim.hold.keys
    writer.board = Board(await patiently(lambda: read_plan(deps.events, keys)))
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
            acknowledged,
            deps.metrics,
            more=await _served(stack, agent, surroundings),
            redactor=deps.redactor,
            outputs=Outputs(deps.events, claim.hold, deps.settings.outputs_max_bytes),
        )
        await stack.enter_async_context(toolbox)
        read = partial(read_conversation, deps.events, keys, claim.record.id)
        conversation = partial(patiently, read)
        yield EngineTask(claim.record, agent, surroundings, toolbox, conversation, deps.redactor)


async def _served(stack: AsyncExitStack, agent: Agent, surroundings: Surroundings) -> Sequence[Tool]:
    """The tools of the agent's MCP servers."""
    if not agent.mcp:
        return ()
    # As long to import as all else of a worker: only for who has such an agent.
    from runcast_worker.mcp import open_tools

    return await stack.enter_async_context(open_tools(agent.mcp, surroundings, os.environ))
