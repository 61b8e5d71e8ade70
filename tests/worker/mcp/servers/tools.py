"""A server of the `mcp` package with tools of every kind. `python tools.py` talks over stdin and stdout; with a token
as its argument over HTTP, on a port that it prints, to whoever has the token."""

import asyncio
import base64
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

server = MCPServer("tools")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def echo(text: str, count: int = 1) -> str:
    """Say it again."""
    return " ".join([text] * count)


@server.tool(name="admin.list", structured_output=True)
def admin_list() -> dict[str, list[int]]:
    """An object, and a name that models' APIs do not take."""
    return {"numbers": [1, 2]}


@server.tool()
async def telling(ctx: Context) -> str:
    """Reports progress, and logs."""
    for step in (1, 2):
        await ctx.report_progress(step, 2, f"step {step}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await ctx.info("half of it is done")
    return "done"


@server.tool()
async def slow(folder: str) -> str:
    """Leaves a file when it began, and one when it was cancelled."""
    where = Path(folder)
    (where / "began").touch()
    try:
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        (where / "cancelled").touch()
        raise
    return "slept"


@server.tool()
def fails() -> str:
    """Raises."""
    raise ToolError("no luck today")


@server.tool()
async def dies(code: int = 3) -> str:
    """Takes the whole process with it."""
    print("something broke", file=sys.stderr, flush=True)
    os._exit(code)


@server.tool()
def large(size: int) -> str:
    """As many characters."""
    return "x" * size


@server.tool(structured_output=False)
def picture() -> CallToolResult:
    """Text and an image of 5 bytes."""
    image = ImageContent(type="image", data=base64.b64encode(b"12345").decode(), mime_type="image/png")
    return CallToolResult(content=[TextContent(type="text", text="look"), image])


@server.tool()
def environment() -> dict[str, str]:
    """What it was given."""
    return dict(os.environ)


@server.tool()
def child() -> int:
    """Starts a process that stays, in a session of its own."""
    return subprocess.Popen(["sleep", "600"], start_new_session=True).pid


class Guarded:
    """Lets through who has the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._authorization = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (b"authorization", self._authorization) not in scope["headers"]:
            await PlainTextResponse("who are you?", 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def serve(token: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    app = Guarded(server.streamable_http_app(), token)
    uvicorn.Server(uvicorn.Config(app, log_level="critical")).run([listening])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1])
    else:
        asyncio.run(server.run_stdio_async())
