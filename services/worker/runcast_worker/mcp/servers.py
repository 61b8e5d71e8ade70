"""The servers of one agent, all connected side by side for the time of one attempt."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from mcp.types import Tool as Listed

from runcast_agents import McpServer
from runcast_agents.agents import TOOL_NAMES
from runcast_worker.engines import EngineError
from runcast_worker.mcp.connection import ConnectFailed, Connection, Way
from runcast_worker.mcp.folder import place
from runcast_worker.mcp.http import Http
from runcast_worker.mcp.stdio import Stdio
from runcast_worker.mcp.tool import McpTool
from runcast_worker.mcp.variables import Unset, arguments, environment, resolve
from runcast_worker.tools import Surroundings, Tool


@asynccontextmanager
async def open_tools(
    servers: Mapping[str, McpServer], surroundings: Surroundings, environ: Mapping[str, str]
) -> AsyncIterator[Sequence[Tool]]:
    """The tools of all servers, until the block ends; then no process and no connection of theirs is left. `environ`:
    the worker's, for `${NAME}`. Raises EngineError of the kind `mcp`."""
    connections = {
        name: Connection(name, _way(name, server, surroundings, environ), server.timeout_s)
        for name, server in servers.items()
    }
    try:
        opening = [asyncio.create_task(_open(connection)) for connection in connections.values()]
        try:
            listed = await asyncio.gather(*opening)
        finally:
            for task in opening:
                task.cancel()
            await asyncio.gather(*opening, return_exceptions=True)
        yield _offered(servers, connections, dict(zip(servers, listed, strict=True)))
    finally:
        await asyncio.gather(*(connection.close() for connection in connections.values()))


async def _open(connection: Connection) -> list[Listed]:
    try:
        return await connection.open()
    except ConnectFailed as failed:
        message = f"the MCP server {connection.name} cannot be used: {failed}"
        raise EngineError(message, "mcp", retryable=True) from None


def _way(name: str, server: McpServer, surroundings: Surroundings, environ: Mapping[str, str]) -> Way:
    try:
        if server.url is not None:
            return Http(server.url, resolve(server.headers, environ), server.timeout_s)
        workspace = surroundings.workspace
        given = environment(server.env, environ, workspace)
        where = place(environ, workspace, reduced=surroundings.sandbox.tier == "reduced")
        return Stdio(arguments(server.command, workspace), given, where)
    except Unset as unset:
        raise EngineError(f"the MCP server {name} cannot be used: {unset}", "mcp") from None
    except OSError as error:
        raise EngineError(f"the MCP server {name} cannot be used: {error.strerror}", "mcp") from None


def _offered(
    servers: Mapping[str, McpServer], connections: Mapping[str, Connection], listed: Mapping[str, Sequence[Listed]]
) -> Sequence[Tool]:
    """Those that the agents file lists, in the servers' order. Raises EngineError for a name that there is not, or
    twice."""
    offered: dict[str, Tool] = {}
    for name, server in servers.items():
        there = {tool.name: tool for tool in listed[name]}
        wanted = there if server.tools is None else server.tools
        if missing := [tool for tool in wanted if tool not in there]:
            message = f"the MCP server {name} has no tool {', '.join(missing)}; it has: {', '.join(there) or 'none'}"
            raise EngineError(message, "mcp")
        for tool in wanted:
            made = McpTool(connections[name], there[tool])
            if made.name in offered or made.name in TOOL_NAMES:
                message = f"the tool {tool} of the MCP server {name} would be called {made.name}, as another tool is"
                raise EngineError(f"{message}; give the server another name in the agents file", "mcp")
            offered[made.name] = made
    return tuple(offered.values())
