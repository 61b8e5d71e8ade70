"""A tool of an MCP server, as one of an agent's."""

import copy
import hashlib
import re
from typing import Any, ClassVar

from mcp.types import Tool as Listed
from pydantic import BaseModel, JsonValue, RootModel

from runcast_worker.mcp.connection import Connection
from runcast_worker.mcp.results import result_of, text_of
from runcast_worker.tools import Surroundings, Tell, ToolFailed

NAME_CHARS = 64
"""Models' APIs take no longer names, of these characters only."""
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_-]")


class ServersArguments(RootModel[dict[str, JsonValue]]):
    """An object. Whether it fits the schema the server says: it has to check by the protocol, its answer is told to the
    model, and a schema of somebody else's is nothing to run patterns of in a worker."""

    schema_of_server: ClassVar[dict[str, Any]] = {"type": "object"}

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        return copy.deepcopy(cls.schema_of_server)


class McpTool:
    """See runcast_worker.tools.Tool."""

    def __init__(self, connection: Connection, listed: Listed) -> None:
        self._connection, self._listed = connection, listed
        self.name = tool_name(connection.name, listed.name)
        self.description = listed.description or listed.title or f"{listed.name} of the MCP server {connection.name}"
        hints = listed.annotations
        self.changes = not (hints is not None and hints.read_only_hint)
        schema = {"type": "object", **listed.input_schema}
        self.arguments: type[BaseModel] = type(
            "Arguments", (ServersArguments,), {"schema_of_server": schema, "__module__": __name__}
        )

    async def call(self, arguments: ServersArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        answer = await self._connection.call(self._listed.name, arguments.root, tell)
        if answer.is_error:
            raise ToolFailed("mcp", text_of(answer) or "the tool failed and said nothing")
        return result_of(answer)


def tool_name(server: str, tool: str) -> str:
    """`<server>_<tool>` in the characters that models' APIs take; a longer one is cut and ends with a digest."""
    name = f"{server}_{_UNNAMEABLE.sub('_', tool)}"
    if len(name) <= NAME_CHARS:
        return name
    digest = hashlib.sha256(f"{server} {tool}".encode()).hexdigest()[:8]
    return f"{name[: NAME_CHARS - 9]}_{digest}"
