"""One server for the time of an attempt: started, listed, called, ended.

The SDK's scopes must be left by the task that entered them, and an attempt's engine may be cancelled anywhere: so a
task of its own holds the client, and the others only send requests through it.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from mcp import Client, MCPError
from mcp.types import CallToolResult, Implementation, LoggingMessageNotificationParams, Tool
from pydantic import JsonValue, ValidationError

from runcast_worker.tools import Tell, ToolFailed

logger = logging.getLogger(__name__)

CLOSE_S = 4.0
TOOLS = 500
"""A server with more tools than this is refused."""
NOTES = 100
"""Messages of progress and logging that wait for the engine; what comes beyond that is left out."""
NOTE_CHARS = 2000
CONNECTION_CLOSED = -32000


class Way(Protocol):
    """How a server is reached: Stdio or Http."""

    @property
    def why(self) -> str | None: ...

    @property
    def words(self) -> str: ...

    def connect(self) -> AbstractAsyncContextManager[Any]: ...


class ConnectFailed(Exception):
    """The server could not be started, reached or asked for its tools; the message says why."""


class Connection:
    """`open`, then `call`, at last `close`, whatever happened."""

    def __init__(self, name: str, way: Way, timeout_s: float) -> None:
        self.name, self._way, self._timeout_s = name, way, timeout_s
        self._stop = asyncio.Event()
        self._client: Client | None = None
        self._owner: asyncio.Task[None] | None = None
        self._notes: set[asyncio.Queue[str]] = set()
        self._words_logged = False

    async def open(self) -> list[Tool]:
        """Its tools. Raises ConnectFailed."""
        listed: asyncio.Future[list[Tool]] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(listed), name=f"MCP server {self.name}")
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.wait((self._owner, listed), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self._log_words()
            raise ConnectFailed(f"it did not start within {self._timeout_s:g} s") from None
        if listed.done():
            return listed.result()
        self._log_words()
        raise ConnectFailed(self._reason(self._owner.exception()))

    async def close(self) -> None:
        """Also after a failed or cancelled `open`."""
        self._stop.set()
        if self._owner is None:
            return
        if self._client is None:
            self._owner.cancel()  # it waits for the server, not for us
        _, late = await asyncio.wait((self._owner,), timeout=CLOSE_S)
        if late:
            self._owner.cancel()
            _, late = await asyncio.wait((self._owner,), timeout=CLOSE_S)
        if late:
            logger.error("the MCP server %s did not end", self.name)
        elif not self._owner.cancelled():
            self._owner.exception()  # whatever it was, its calls have told it

    async def call(self, tool: str, arguments: Mapping[str, JsonValue], tell: Tell) -> CallToolResult:
        """Raises ToolFailed where there is no result at all. Cancelling it cancels the request."""
        client = self._client
        if client is None or self._owner is None or self._owner.done():
            raise ToolFailed("mcp", self._gone("is no longer there"))
        notes: asyncio.Queue[str] = asyncio.Queue(NOTES)
        self._notes.add(notes)
        telling = asyncio.create_task(_tell(notes, tell), name=f"notes of the MCP server {self.name}")

        async def noted(progress: float, total: float | None, message: str | None) -> None:
            of = "" if total is None else f"/{total:g}"
            _put(notes, f"[progress] {progress:g}{of}{f': {message}' if message else ''}")

        try:
            async with asyncio.timeout(self._timeout_s):
                return await client.call_tool(tool, dict(arguments), progress_callback=noted)
        except TimeoutError:
            message = f"the MCP server {self.name} did not answer within {self._timeout_s:g} s"
            raise ToolFailed("timeout", message) from None
        except MCPError as error:
            if error.error.code == CONNECTION_CLOSED:
                raise ToolFailed("mcp", self._gone("went away in the middle of the call")) from None
            why = f" ({self._way.why})" if self._way.why else ""
            message = f"the MCP server {self.name} refused the call: {error.error.message}{why}"
            raise ToolFailed("mcp", message) from None
        except ValidationError:
            raise ToolFailed("mcp", f"the MCP server {self.name} answered what is no result of a tool") from None
        except Exception as error:
            raise ToolFailed("mcp", f"the MCP server {self.name}: {self._reason(error)}") from None
        finally:
            self._notes.discard(notes)
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            if not _cancelling():
                await _rest(notes, tell)

    async def _own(self, listed: "asyncio.Future[list[Tool]]") -> None:
        client = Client(
            self._way.connect(),
            client_info=Implementation(name="runcast", version="0"),
            logging_callback=self._logged,
            log_level="info",
            cache=None,
        )
        async with client:
            tools = await _tools(client)
            self._client = client
            if not listed.done():
                listed.set_result(tools)
            await self._stop.wait()

    async def _logged(self, params: LoggingMessageNotificationParams) -> None:
        """To every call that runs on this server: such a message does not say whose it is."""
        data = params.data if isinstance(params.data, str) else repr(params.data)
        for notes in self._notes:
            _put(notes, f"[{params.level}] {data}")

    def _gone(self, how: str) -> str:
        self._log_words()
        why = f": {self._way.why}" if self._way.why else ""
        return f"the MCP server {self.name} {how}{why}. It is started again by the next attempt only."

    def _log_words(self) -> None:
        """Once: of a traceback the client is told the last line only, and the operator wants all of it."""
        if self._way.words and not self._words_logged:
            self._words_logged = True
            logger.warning("the MCP server %s wrote to stderr:\n%s", self.name, self._way.words)

    def _reason(self, error: BaseException | None) -> str:
        """The innermost of what groups of errors hold, and what the way knows besides."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        said = error.error.message if isinstance(error, MCPError) else str(error or "it ended")
        why = self._way.why
        if why is not None and isinstance(error, MCPError):
            return why if error.error.code == CONNECTION_CLOSED else f"{said} ({why})"
        return said or type(error).__name__


async def _tools(client: Client) -> list[Tool]:
    page = await client.list_tools()
    tools = list(page.tools)
    while page.next_cursor is not None and len(tools) <= TOOLS:
        page = await client.list_tools(cursor=page.next_cursor)
        tools += page.tools
    if len(tools) > TOOLS:
        raise ConnectFailed(f"it has more than {TOOLS} tools")
    return tools


def _put(notes: asyncio.Queue[str], text: str) -> None:
    if not notes.full():
        notes.put_nowait(text[:NOTE_CHARS] + "\n")


async def _tell(notes: asyncio.Queue[str], tell: Tell) -> None:
    while True:
        await tell.stream("stderr", await notes.get())


async def _rest(notes: asyncio.Queue[str], tell: Tell) -> None:
    while not notes.empty():
        await tell.stream("stderr", notes.get_nowait())


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
