"""What WebSocketProtocol changes of uvicorn's: handshakes and bytes that make no sense, and who is given up."""

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runcast_service.server import Ping, SideServer
from runcast_service.websocket import SOCKET, WebSocketProtocol
from tests.conftest import wait_until

Talk = Callable[[Receive, Send], Awaitable[None]]


class Talking:
    """An application that accepts, then does what the test says. `codes`: with which its connections ended."""

    def __init__(self, talk: Talk | None = None) -> None:
        self._talk = talk
        self.codes: list[int] = []
        self.socket: asyncio.Transport | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.socket = scope["extensions"][SOCKET].transport
        await send({"type": "websocket.accept"})
        if self._talk is not None:
            await self._talk(receive, send)
        while (message := await receive())["type"] != "websocket.disconnect":
            pass
        self.codes.append(message["code"])


frames = st.builds(
    lambda first, masked, body, key: (
        bytes([first, masked << 7 | len(body)])
        + (key + bytes(b ^ key[i % 4] for i, b in enumerate(body)) if masked else body)
    ),
    st.sampled_from([0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, 0x8A, 0xC1]) | st.integers(0, 255),
    st.booleans() | st.just(True),
    st.binary(max_size=125) | st.sampled_from([b"\x03\xe8", b"\x03", b"\x03\xed", b"\x0f\xa0\xff"]),
    st.binary(min_size=4, max_size=4),
)
"""Most of them well formed but for one thing."""


@asynccontextmanager
async def served(app: Talking, ping: Ping | None = None) -> AsyncIterator[int]:
    async with SideServer(app, "127.0.0.1", 0, ws=WebSocketProtocol, ping=ping) as server:
        yield server.port


def handshake(path: str = "/", more: str = "") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{upgrade}{more}\r\n".encode()


@pytest.mark.parametrize(
    "request_bytes",
    [
        handshake("/" + "x" * 9000),
        handshake(more="".join(f"X-{i}: 1\r\n" for i in range(200))),
        handshake(more="X-Long: " + "x" * 9000 + "\r\n"),
        handshake().replace(b"GET", b"POST"),
        handshake().replace(b"Sec-WebSocket-Key", b"X-Key"),
        handshake().replace(b"Version: 13", b"Version: 7"),
    ],
    ids=["a long path", "many headers", "a long header", "POST", "no key", "another version"],
)
async def test_a_handshake_that_makes_no_sense_is_answered(
    request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """And the connection ends: nobody waits for ever, and nothing of ours is to be mended."""
    app = Talking()
    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 4")
    assert app.socket is None
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_refusal_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """An application may answer the handshake as any other request."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("no", 403)(scope, receive, send)

    async with SideServer(refuse, "127.0.0.1", 0, ws=WebSocketProtocol) as server:
        with pytest.raises(InvalidStatus, match="HTTP 403"):
            await connect(f"ws://127.0.0.1:{server.port}", proxy=None)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("split", [False, True])
async def test_text_that_is_no_utf_8_closes_the_connection(split: bool, caplog: pytest.LogCaptureFixture) -> None:
    """With the code for it, and no traceback, also where it comes in parts."""
    app = Talking()
    async with served(app) as port, connect(f"ws://127.0.0.1:{port}", proxy=None) as client:
        await client.send([b"\xc3", b"\xc3"] if split else b"\xff", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007
    await wait_until(lambda: app.codes == [1007])
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_text_in_parts_arrives_whole() -> None:
    """A character may be cut in two."""
    heard: list[str] = []

    async def hear(receive: Receive, send: Send) -> None:
        await receive()
        heard.append((await receive())["text"])

    async with served(Talking(hear)) as port, connect(f"ws://127.0.0.1:{port}", proxy=None) as client:
        await client.send([b"h\xc3", b"\xa9"], text=True)
        await wait_until(lambda: heard == ["hé"])


async def test_a_client_that_does_not_answer_pings_is_given_up() -> None:
    """Its machine takes everything, so that the kernel finds nothing wrong."""
    app = Talking()
    async with served(app, Ping(0.2, 0.3)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(handshake())
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        rest = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert rest[0] == 0x89, "a ping"
    assert rest[6] == 0x88, "a close frame after one ping"


async def test_a_slow_client_that_goes_on_taking_is_waited_for() -> None:
    """Its pong comes when it has read what lies before the ping, however long that takes; one that takes nothing is
    cut, with all that was to be sent to it."""
    full = asyncio.Event()

    async def flood(receive: Receive, send: Send) -> None:
        for _ in range(80):
            await send({"type": "websocket.send", "bytes": bytes(50_000)})
        full.set()

    app = Talking(flood)
    async with served(app, Ping(0.2, 0.4)) as port:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        writer.write(handshake())
        taken = 0
        loop = asyncio.get_running_loop()
        until = loop.time() + 2
        while loop.time() < until:
            taken += len(await asyncio.wait_for(reader.read(20_000), 5))
            await asyncio.sleep(0.01)  # this is the pace, not a wait for something
        assert app.socket is not None
        assert not app.socket.is_closing()
        assert not full.is_set(), f"the client was not slow: it took {taken} bytes"
        await wait_until(lambda: app.socket is not None and app.socket.get_extra_info("socket").fileno() == -1)
        writer.transport.abort()


async def test_any_bytes_after_the_handshake_end_well(caplog: pytest.LogCaptureFixture) -> None:
    """Frames that are none, are not masked, are of no known kind or end in the middle: a close, and no traceback."""
    app = Talking()
    loop = asyncio.get_running_loop()
    async with served(app) as port:

        async def send(data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(handshake())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(frames, max_size=4).map(b"".join) | st.binary(max_size=40))
        def ends(data: bytes) -> None:
            asyncio.run_coroutine_threadsafe(asyncio.wait_for(send(data), 10), loop).result(15)

        await asyncio.to_thread(ends)
    assert not [record.message for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
