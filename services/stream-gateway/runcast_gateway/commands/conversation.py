"""The commands of one WebSocket client: forwarded one after the other, as they came, each answered."""

import asyncio
import contextlib
import logging

from pydantic_core import to_json
from starlette.types import Receive, Send

from runcast_gateway.commands.api import Answer
from runcast_gateway.commands.command import Command, api_request, parse_command, parse_message
from runcast_gateway.state import State
from runcast_service.problem import Problem

logger = logging.getLogger(__name__)

WAITING = 16
"""Commands of a client that wait, the one that is being forwarded among them; more are refused."""
FINISH_S = 10.0
"""For commands that wait when the stream ends, or the client leaves: they are still forwarded."""


class Conversation:
    """Use as an async context manager: it forwards what waits before it ends. Answers go to `send` beside the stream's
    frames, so that each waits for room at the client by itself."""

    def __init__(self, state: State, session_id: str, authorization: bytes | None, send: Send) -> None:
        self._state, self._session_id, self._authorization, self._send = state, session_id, authorization, send
        self._commands: asyncio.Queue[Command] = asyncio.Queue()
        self._waiting = 0
        self._forwarding: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Conversation":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.finish()

    async def finish(self) -> None:
        """Nothing more is heard: until everything is answered, or there was time enough for that."""
        forwarding, self._forwarding = self._forwarding, None
        if forwarding is None:
            return
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_S):
                    await self._commands.join()
        finally:
            forwarding.cancel()
            await asyncio.gather(forwarding, return_exceptions=True)

    async def listen(self, receive: Receive) -> None:
        """Until the client has left. A client that reads no answers is not heard either. Raises TimeoutError when it
        takes nothing for the send timeout."""
        while (message := await receive())["type"] != "websocket.disconnect":
            request_id = None
            try:
                document = parse_message(message.get("text"))
                request_id = _request_id(document)
                self._take(parse_command(document))
            except Problem as problem:
                await self._refuse(request_id, problem)

    def _take(self, command: Command) -> None:
        """Raises Problem."""
        if self._waiting >= WAITING:
            detail = f"{WAITING} commands of this client wait already: expected it to wait for their answers"
            raise Problem(429, "too_many_commands", detail)
        self._waiting += 1
        self._commands.put_nowait(command)
        if self._forwarding is None:  # most clients only watch
            self._forwarding = asyncio.create_task(self._forward(), name="commands")

    async def _forward(self) -> None:
        while True:
            command = await self._commands.get()
            try:
                answer = await self._ask(command)
                with contextlib.suppress(OSError):  # it has left, or takes nothing
                    await self._answer(command.request_id, answer)
            finally:
                self._waiting -= 1
                self._commands.task_done()
            self._state["metrics"].commands.labels(command.type, f"{answer.status // 100}xx").inc()

    async def _ask(self, command: Command) -> Answer:
        try:
            return await self._state["api"].ask(api_request(command, self._session_id), self._authorization)
        except Problem as problem:
            return Answer(problem.status, problem.document)
        except Exception:
            logger.exception("a command cannot be forwarded", extra={"session_id": self._session_id})
            return Answer(500, Problem(500, "internal", "an error of ours; it was logged").document)

    async def _refuse(self, request_id: str | None, problem: Problem) -> None:
        """Raises TimeoutError."""
        try:
            await self._answer(request_id, Answer(problem.status, problem.document))
        except TimeoutError:
            raise
        except OSError:
            pass  # it has left; what it said before is heard to its end

    async def _answer(self, request_id: str | None, answer: Answer) -> None:
        """Raises OSError, TimeoutError."""
        response = {"request_id": request_id, "status": answer.status, "body": answer.body}
        text = to_json({"response": response}).decode()
        async with asyncio.timeout(self._state["settings"].send_timeout_s):
            await self._send({"type": "websocket.send", "text": text})


def _request_id(document: object) -> str | None:
    """As the client said it, if it is one."""
    request_id = document.get("request_id") if isinstance(document, dict) else None
    return request_id if isinstance(request_id, str) and len(request_id) <= 64 else None
