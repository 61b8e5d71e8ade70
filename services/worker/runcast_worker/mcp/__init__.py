"""Tools of MCP servers: an agent's servers are connected for the time of one attempt, their tools offered as ours.

On `mcp.Client`, and not on pydantic-ai's MCPToolset or fastmcp's Client: a tool here is called by the toolbox, outside
of any run of pydantic-ai's, and a server that died must stay dead for the attempt instead of being started again.
"""

from runcast_worker.mcp.servers import open_tools

__all__ = ["open_tools"]
