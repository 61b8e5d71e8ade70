"""A TCP proxy between a client and its store, with faults: replies that never come, a line that is cut, silence."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """`lose_reply(n)`: says for the nth reply (counted from 0 over all connections) whether it is lost. A lost reply
    takes its connection with it, as a broken line does. `silent`: everything is accepted and nothing passes."""

    target_port: int
    lose_reply: Callable[[int], bool] = lambda _: False
    silent: bool = False
    port: int = 0
    replies: int = 0
    lost: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _mute: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection now."""
        for writer in self._writers:
            writer.transport.abort()

    def mute(self) -> None:
        """Nothing more passes over the connections there are, which stay open; new ones work."""
        self._mute |= self._writers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            store_reader, store_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, store_writer}
        try:
            await asyncio.gather(self._commands(reader, store_writer), self._replies(store_reader, writer))
        except OSError:
            pass
        finally:
            self._writers -= {writer, store_writer}
            self._mute -= {writer, store_writer}
            writer.transport.abort()
            store_writer.transport.abort()

    async def _commands(self, reader: asyncio.StreamReader, store: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.silent and store not in self._mute:
                store.write(data)
        raise ConnectionResetError

    async def _replies(self, store: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await store.read(65536):
            number, self.replies = self.replies, self.replies + 1
            if self.lose_reply(number):
                self.lost += 1
                raise ConnectionResetError
            if not self.silent and writer not in self._mute:
                writer.write(data)
        raise ConnectionResetError


@asynccontextmanager
async def running_proxy(target_port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(target_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.cut()
        server.close()
        await asyncio.sleep(0)
