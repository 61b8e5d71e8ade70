"""The stub as an ASGI app, and a way to serve it inside another process."""

import asyncio
import contextlib
import json
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from runcast_local.model.asked import Asked, Completion, shown_headers
from runcast_local.model.characters import NAMES, character
from runcast_local.model.chunks import Chunks, models, problem, whole
from runcast_local.model.script import Answer, Cut, Pause, Refusal, Script, Silence, Stall, Turn
from runcast_service.server import SideServer

BODY_BYTES = 32 * 1024 * 1024
REMEMBERED = 1000
"""Requests that are kept to be looked at, and of which it is known how often they were made."""
WRITE_BYTES = 16 * 1024
"""Chunks that have no pause between them are written together."""
LONGEST_S = 600.0
"""A client that stays this long in a silence or a stall is sent away."""


class Stub:
    """`scripts`: by the name of a model; a name that has none is one of the stub's own models. `asked`: the last
    requests, oldest first."""

    def __init__(self, scripts: Mapping[str, Script] | None = None) -> None:
        self.scripts: dict[str, Script] = dict(scripts or {})
        self.asked: deque[Asked] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._played: Counter[str] = Counter()
        self._made: OrderedDict[str, int] = OrderedDict()
        self._closing = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", _Completions(self), methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/stats", self._stats),
            ]
        )

    def close(self) -> None:
        """End what would never end by itself."""
        self._closing.set()

    def answer(self, asked: Asked) -> Answer:
        script = self.scripts.get(asked.model)
        if script is None:
            return self._in_character(asked)
        if callable(script):
            return script(asked)
        index = self._played[asked.model]
        self._played[asked.model] += 1
        if index >= len(script):
            message = f"the script of {asked.model} has {len(script)} answers, and this is request {index + 1}"
            return Refusal(400, message, "invalid_request_error", "script_over")
        return script[index]

    def note(self, completion: Completion, scope: Scope) -> Asked:
        self._count += 1
        asked = Asked(self._count, completion, shown_headers(scope["headers"]))
        self.asked.append(asked)
        return asked

    async def forever(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_S):
                await self._closing.wait()

    def _in_character(self, asked: Asked) -> Answer:
        found = character(asked.model)
        if found is None:
            known = ", ".join((*self.scripts, *NAMES))
            message = f"no model {asked.model!r} here; there are: {known}"
            return Refusal(404, message, "invalid_request_error", "model_not_found")
        made = self._made.get(asked.key, 0)
        self._made[asked.key] = made + 1
        self._made.move_to_end(asked.key)
        if len(self._made) > REMEMBERED:
            self._made.popitem(last=False)
        return found(asked, made)

    async def _models(self, request: Request) -> JSONResponse:
        return JSONResponse(models((*self.scripts, *NAMES)))

    async def _stats(self, request: Request) -> JSONResponse:
        """For a human: how many requests of each model ended how, and the last ones."""
        outcomes = Counter(f"{asked.model} {asked.outcome or 'open'}" for asked in self.asked)
        last = [
            {
                "number": asked.number,
                "model": asked.model,
                "outcome": asked.outcome,
                "messages": len(asked.messages),
                "tools": list(asked.tools),
                "duration_ms": round(((asked.ended_at or asked.left_at or monotonic()) - asked.at) * 1000),
            }
            for asked in list(self.asked)[-20:]
        ]
        return JSONResponse({"requests": self._count, "outcomes": outcomes, "last": last})


class _Completions:
    """Raw ASGI: the client's leaving is seen the moment it happens, also in a pause."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            completion = Completion.model_validate_json(await _body(receive))
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            await _refuse(send, Refusal(400, f"not a request for a completion: {said}", "invalid_request_error"))
            return
        asked = self._stub.note(completion, scope)
        answering = asyncio.create_task(self._answer(asked, send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                asked.ended_at = monotonic()
                asked.outcome = answering.result()
            else:
                asked.left_at = monotonic()
                asked.outcome = "left"
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _answer(self, asked: Asked, send: Send) -> str:
        """How it ended. Returning without the body's end makes the server close the connection."""
        answer = self._stub.answer(asked)
        if isinstance(answer, Silence):
            await self._stub.forever()
            return "cut"
        asked.sent_at = monotonic()
        if isinstance(answer, Refusal):
            await _refuse(send, answer)
            return "refused"
        if asked.completion.stream:
            return await self._stream(asked, answer, send)
        await asyncio.sleep(answer.pause_s * len(answer.pieces))
        await _send_whole(send, 200, json.dumps(whole(asked, answer)).encode())
        return "answered"

    async def _stream(self, asked: Asked, turn: Turn, send: Send) -> str:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        chunks = Chunks(asked)
        waiting = bytearray(chunks.first())

        async def write(more: bool = True) -> None:
            await send({"type": "http.response.body", "body": bytes(waiting), "more_body": more})
            waiting.clear()

        for piece in turn.pieces:
            pause_s = piece.seconds if isinstance(piece, Pause) else turn.pause_s
            if pause_s or isinstance(piece, Stall | Cut):
                await write()
            if isinstance(piece, Stall):
                await self._stub.forever()
                return "cut"
            if isinstance(piece, Cut):
                if piece.clean:
                    await write(more=False)
                return "cut"
            await asyncio.sleep(pause_s)
            for chunk in chunks.of(piece):
                waiting += chunk
                if len(waiting) > WRITE_BYTES:
                    await write()
        waiting += chunks.last(turn)
        await write(more=False)
        return "answered"


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(receive: Receive) -> bytes:
    body, more = bytearray(), True
    while more and len(body) <= BODY_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body[: BODY_BYTES + 1])


async def _refuse(send: Send, refusal: Refusal) -> None:
    after = refusal.retry_after_s
    headers = [] if after is None else [(b"retry-after", f"{after:g}".encode())]
    await _send_whole(send, refusal.status, problem(refusal), headers)


async def _send_whole(send: Send, status: int, body: bytes, more: list[tuple[bytes, bytes]] | None = None) -> None:
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"application/json"), length, *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(stub: Stub, port: int = 0) -> AsyncIterator[str]:
    """Serve it in this loop until the block ends; gives the base URL for clients. Port 0: a free one."""
    async with SideServer(stub.app, "127.0.0.1", port) as server:
        try:
            yield f"http://127.0.0.1:{server.port}/v1"
        finally:
            stub.close()
