"""A WebSocket client that writes down what it is shown, and what its commands come to."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from runcast_api.app import create_app
from runcast_api.settings import ApiSettings
from runcast_events.ids import EventId
from runcast_service.server import SideServer
from tests.gateway.running import CONTROL
from tests.history import Seen


@dataclass
class Talk:
    """One client over all its connections. `frames`: every message but the answers to commands, which are `responses`
    by their request ids. `code`: with which the last connection closed."""

    base: str
    params: dict[str, str]
    cursor: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    frames: list[dict[str, Any]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    responses: dict[str | None, dict[str, Any]] = field(default_factory=dict)
    code: int | None = None
    ws: ClientConnection = field(init=False)

    @asynccontextmanager
    async def connected(
        self, receive_bytes: int | None = None, read_ahead: int | None = 16
    ) -> AsyncIterator[ClientConnection]:
        """Raises InvalidStatus. `receive_bytes`: of the kernel's receive buffer; then nothing is read ahead either.
        `read_ahead`: messages that are taken before anybody asks for them; None: all."""
        params = self.params | ({"last_event_id": self.cursor} if self.cursor else {})
        options: dict[str, Any] = {"max_queue": read_ahead}
        if receive_bytes is not None:
            host, port = self.base.removeprefix("http://").split(":")
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
            options = {"sock": sock, "max_queue": 1}
        url = f"{self.base.replace('http', 'ws', 1)}/stream/ws?{urlencode(params)}"
        quiet = {"ping_interval": None, "compression": None, "proxy": None, "close_timeout": 5}
        async with connect(url, additional_headers=self.headers, **quiet, **options) as self.ws:
            yield self.ws

    async def read(self, *, stop_after: int | None = None, until: str | None = None, timeout_s: float = 20) -> None:
        """Connect from the cursor and read until `stop_after` events, something named `until`, or the close."""
        async with asyncio.timeout(timeout_s), self.connected():
            await self.go_on(stop_after=stop_after, until=until)

    async def go_on(self, *, stop_after: int | None = None, until: str | None = None, timeout_s: float = 20) -> None:
        count = 0
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    message = await self.ws.recv()
                except ConnectionClosed:
                    self.code = self.ws.close_code
                    return
                assert isinstance(message, str)
                name = self._show(message)
                count += name not in CONTROL | {"response"}
                if name == until or (stop_after is not None and count >= stop_after):
                    return

    async def ask(self, **command: object) -> dict[str, Any]:
        """Send a command, and read until its answer is there."""
        await self.ws.send(json.dumps(command))
        return await self.answer(str(command["request_id"]))

    async def answer(self, request_id: str) -> dict[str, Any]:
        while request_id not in self.responses and self.code is None:
            await self.go_on(until="response")
        return self.responses[request_id]

    def _show(self, message: str) -> str:
        assert "\n" not in message
        frame = json.loads(message)
        if "response" in frame:
            self.responses[frame["response"]["request_id"]] = frame["response"]
            return "response"
        self.cursor = frame.get("id", self.cursor)
        self.frames.append(frame)
        name = name_of(frame)
        if name == "gap":
            self.seen.append(Seen(EventId.parse(frame["id"]), gap=True))
        elif name not in CONTROL:
            assert message.startswith(f'{{"id":"{frame["id"]}",')
            self.seen.append(Seen(EventId.parse(frame["id"]), b"{" + message.partition(",")[2].encode()))
        return name

    @property
    def names(self) -> list[str]:
        return [name_of(frame) for frame in self.frames]


def name_of(frame: dict[str, Any]) -> str:
    if "event_type" in frame:
        return str(frame["event_type"])
    (name,) = CONTROL & frame.keys()
    return name


@asynccontextmanager
async def running_api(redis_url: str, port: int = 0) -> AsyncIterator[str]:
    """The api's own application on a real socket; its URL. No worker: what is submitted waits."""
    app = create_app(ApiSettings(redis_url=redis_url))
    async with SideServer(app, "127.0.0.1", port, lifespan="on") as server:
        yield f"http://127.0.0.1:{server.port}"
