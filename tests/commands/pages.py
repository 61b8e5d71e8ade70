"""A server of pages that come at once, when the test lets them, drop by drop, or never."""

import asyncio
from collections import Counter

from starlette.types import Receive, Scope, Send

DROP_S = 0.05


class Pages:
    """`?hold` in a page's address: it comes when it is let go; `/silent`: never; `/drip`: it begins, and never ends.
    `got`: how often each was asked for, with its query; `left`: those whose clients went away before their end."""

    def __init__(self) -> None:
        self.got: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self._held: dict[str, asyncio.Event] = {}

    def let_go(self) -> None:
        for held in self._held.values():
            held.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = (scope["raw_path"] + b"?" + scope["query_string"]).decode().rstrip("?")
        self.got[target] += 1
        leaving = asyncio.create_task(_left(receive))
        answering = asyncio.create_task(self._answer(target, send))
        try:
            await asyncio.wait((leaving, answering), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                self.left[target] += 1
        finally:
            leaving.cancel()
            answering.cancel()
            await asyncio.gather(leaving, answering, return_exceptions=True)

    async def _answer(self, target: str, send: Send) -> None:
        if "hold" in target or target == "/silent":
            await self._held.setdefault(target, asyncio.Event()).wait()
            del self._held[target]
        headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while target == "/drip":
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(DROP_S)
        await send({"type": "http.response.body", "body": f"page {target}".encode()})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
