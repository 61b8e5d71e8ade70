"""Every tool that the product has. Those of MCP servers come from the agents file."""

from runcast_worker.tools import Tool
from runcast_worker.tools.edit_file import EditFile
from runcast_worker.tools.fetch import Fetch
from runcast_worker.tools.list_files import ListFiles
from runcast_worker.tools.list_folder import ListFolder
from runcast_worker.tools.plan import PlanTool
from runcast_worker.tools.progress import ProgressTool
from runcast_worker.tools.read_file import ReadFile
from runcast_worker.tools.search import Search
from runcast_worker.tools.shell import Shell
from runcast_worker.tools.todos import Todos
from runcast_worker.tools.write_file import WriteFile


def all_tools() -> dict[str, Tool]:
    """By name, in the order in which an agent is offered them. New ones for every attempt."""
    tools: tuple[Tool, ...] = (
        *(Shell(), ReadFile(), WriteFile(), EditFile(), ListFolder(), ListFiles(), Search()),
        *(Fetch(), PlanTool(), Todos(), ProgressTool()),
    )
    return {tool.name: tool for tool in tools}
