"""What clients do: tasks of every agent, streams of every kind, and mistakes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from itertools import count

import httpx2

from tests.gateway.talking import Talk
from tests.monitoring.deployment import Deployment, Process

TOOLS = 'Use list_folder and shell {"command": "echo hello"} and read_file {"path": "nothing.txt"}'
SLOW_RECEIVE_BYTES = 4096
BODY_LATE_S = 1.5
UNKNOWN = "9999999999999999-1"
"""A cursor that no log has had yet."""


class Traffic:
    """Use as an async context manager; what it opened is closed with it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.http = httpx2.AsyncClient(base_url=deployment.api.url, trust_env=False, timeout=20)
        self._names = (f"session-{number}" for number in count())
        self._streams: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Traffic":
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        await self.http.aclose()

    async def submit(self, agent: str = "script", session: str | None = None, **fields: object) -> httpx2.Response:
        body = {"task": "Count the lines of the Python files", "agent": agent, **fields}
        return await self.http.post("/api/tasks", json={"session_id": session or next(self._names), **body})

    async def accepted(self, agent: str = "script", session: str | None = None, **fields: object) -> str:
        """The task's id."""
        answer = await self.submit(agent, session, **fields)
        assert answer.status_code == 202, answer.text
        task_id: str = answer.json()["task_id"]
        return task_id

    async def outputs(self, seconds: float, rate: float = 50, size: int = 100, session: str | None = None) -> str:
        """A task that says something all the time."""
        return await self.accepted(session=session, params={"count": int(seconds * rate), "rate": rate, "bytes": size})

    def follow(self, session: str, gateway: Process | None = None, cursor: str | None = None) -> asyncio.Task[None]:
        """A stream that stays open; a refused or broken one is opened again."""
        stream = asyncio.create_task(self._follow(session, gateway or self.deployment.gateways[0], cursor))
        self._streams.append(stream)
        return stream

    async def _follow(self, session: str, gateway: Process, cursor: str | None) -> None:
        headers = {} if cursor is None else {"Last-Event-ID": cursor}
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=None) as http:
            while True:
                try:
                    async with http.stream("GET", f"/stream/sessions/{session}", headers=headers) as answer:
                        async for _ in answer.aiter_bytes():
                            pass
                except httpx2.HTTPError:
                    pass
                await asyncio.sleep(0.1)

    async def look(self, session: str, cursor: str, gateway: Process | None = None) -> None:
        """Come with that cursor, read the first bytes, leave."""
        base = (gateway or self.deployment.gateways[0]).url
        async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=5) as http:
            headers = {"Last-Event-ID": cursor}
            async with http.stream("GET", f"/stream/sessions/{session}", headers=headers) as answer:
                async for _ in answer.aiter_bytes():
                    break

    async def read_slowly(self, session: str, seconds: float, every_s: float = 0.2) -> None:
        """A client behind a line that is too thin."""
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_RECEIVE_BYTES)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", self.deployment.gateways[0].port))
            await loop.sock_sendall(sock, f"GET /stream/sessions/{session} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            ends_at = loop.time() + seconds
            while loop.time() < ends_at:
                await loop.sock_recv(sock, 4096)
                await asyncio.sleep(every_s)

    async def talk(self, session: str) -> None:
        """A WebSocket client that submits a task, and cancels it."""
        talk = Talk(self.deployment.gateways[1].url, {"session_id": session})
        async with asyncio.timeout(10), talk.connected():
            accepted = await talk.ask(request_id="1", type="submit", task="Look", agent="demo")
            await talk.ask(request_id="2", type="cancel", task_id=accepted["body"]["task_id"])

    async def submit_late(self) -> None:
        """A client whose body comes long after its head."""

        async def body() -> AsyncIterator[bytes]:
            await asyncio.sleep(BODY_LATE_S)
            yield b'{"task": "Look", "agent": "demo"}'

        await self.http.post("/api/tasks", content=body(), headers={"content-type": "application/json"})

    async def cancelled(self) -> None:
        """A task that somebody cancels while it runs."""
        task_id = await self.outputs(20)
        await asyncio.sleep(0.5)
        assert (await self.http.post(f"/api/tasks/{task_id}/cancel")).status_code in (200, 202)

    async def of_all_kinds(self, seconds: float) -> None:
        """Everything that can be seen on a dashboard while all is well, again and again."""
        loop = asyncio.get_running_loop()
        ends_at, rounds = loop.time() + seconds, 0
        while loop.time() < ends_at:
            await self._round(rounds)
            rounds += 1

    async def _round(self, number: int) -> None:
        for gateway in self.deployment.gateways:
            self.follow("busy", gateway, "latest")
        await self.outputs(2, 120 + 80 * (number % 3), session="busy")
        await self.outputs(2, 500, 2000, session=f"wide-{number}")
        slow = asyncio.create_task(self.read_slowly(f"wide-{number}", 3))
        await self.accepted("demo")
        await self.accepted("llm", task=TOOLS)
        await self.accepted("llm", task="Say something about rivers", model="stub-429")
        if number % 3 == 1:
            await self.accepted("llm", task="Say something", model="stub-401")
            await self.submit("nobody")
        await self.talk(f"talked-{number}")
        await self.cancelled()
        await self.look("busy", "earliest")
        await self.look("busy", UNKNOWN)
        await slow
