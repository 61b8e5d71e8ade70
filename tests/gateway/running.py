"""A gateway on a real socket inside the test's loop, and a client that writes down what it was shown."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from runcast_events.ids import EventId
from runcast_gateway.app import create_app
from runcast_gateway.settings import GatewaySettings
from runcast_gateway.transports.handover import StreamProtocol
from runcast_gateway.transports.websocket import DrainedWebSocket
from runcast_service.server import Ping, SideServer
from tests.history import Seen

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Making a default context reads all certificates, which costs more than the rest of a connection."""
ServerProtocol = type[asyncio.Protocol]
CONTROL = {"connected", "cursor", "gap", "end", "draining"}


@dataclass
class Gateway:
    """`base`: its URL. `drain`: set to have it drain."""

    base: str
    drain: asyncio.Event

    async def stats(self) -> dict[str, object]:
        async with httpx2.AsyncClient() as http:
            stats: dict[str, object] = (await http.get(f"{self.base}/stream/stats")).json()
            return stats


@asynccontextmanager
async def running_gateway(
    url: str,
    *,
    http: ServerProtocol = StreamProtocol,
    ws: ServerProtocol = DrainedWebSocket,
    **settings: object,
) -> AsyncIterator[Gateway]:
    """Use as `async with`; heartbeats and drains are short unless `settings` say otherwise."""
    config = GatewaySettings.model_validate(
        {"redis_url": url, "retry_ms": 100, "drain_s": 0.2, "send_timeout_s": 2} | settings
    )
    drain = asyncio.Event()
    server = SideServer(
        create_app(config, drain),
        "127.0.0.1",
        0,
        lifespan="on",
        http=http,
        ws=ws,
        ping=Ping(config.heartbeat_s, config.send_timeout_s),
    )
    async with server:
        try:
            yield Gateway(f"http://127.0.0.1:{server.port}", drain)
        finally:
            drain.set()


@dataclass
class Client:
    """A client of one stream over all its connections. `blocks`: every SSE block, as (event, id, data)."""

    base: str
    path: str
    cursor: str = ""
    params: dict[str, str] = field(default_factory=dict)
    encoding: str = "identity"
    seen: list[Seen] = field(default_factory=list)
    blocks: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)
    status: int = 0
    ended: bool = False

    async def read(self, *, stop_after: int | None = None, until: str | None = None, timeout_s: float = 20) -> None:
        """Connect from the cursor and read until `stop_after` events, an event of type `until`, or the end."""
        headers = {"Accept-Encoding": self.encoding} | ({"Last-Event-ID": self.cursor} if self.cursor else {})
        count = 0
        async with (
            asyncio.timeout(timeout_s),
            httpx2.AsyncClient(timeout=timeout_s, verify=NO_TLS) as http,
            http.sse(self.base + self.path, headers=headers, params=self.params) as source,
        ):
            self.status = source.response.status_code
            if self.status != 200:
                return
            async for block in source:
                count += self._show(block)
                if block.event == until or self.ended or (stop_after is not None and count >= stop_after):
                    return

    def _show(self, block: httpx2.ServerSentEvent) -> bool:
        self.cursor = block.id or self.cursor
        self.blocks.append((block.event, block.id, json.loads(block.data or "{}")))
        if block.event in CONTROL:
            if block.event == "gap":
                self.seen.append(Seen(EventId.parse(block.id), gap=True))
            self.ended = self.ended or block.event == "end"
            return False
        self.seen.append(Seen(EventId.parse(block.id), block.data.encode()))
        return True

    @property
    def events(self) -> list[str]:
        return [event for event, _, _ in self.blocks]

    def data(self, event: str) -> list[dict[str, object]]:
        return [data for name, _, data in self.blocks if name == event]


async def status_of(gateway: Gateway, path: str, **headers: str) -> httpx2.Response:
    """The answer to a request that is expected not to be a stream."""
    async with httpx2.AsyncClient(timeout=5) as http:
        return await http.get(gateway.base + path, headers={k.replace("_", "-"): v for k, v in headers.items()})
