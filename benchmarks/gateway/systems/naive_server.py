"""`python naive_server.py PORT STORE_PORT`: a stream of each session, as it is usually written."""

import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, Request
from redis.asyncio import Redis
from sse_starlette import EventSourceResponse, ServerSentEvent

LOOPBACK = "127.0.0.1"


def create_app(redis: Redis) -> FastAPI:
    app = FastAPI()

    async def events(stream: str, cursor: str | None) -> AsyncIterator[ServerSentEvent]:
        if cursor is None:
            newest = await redis.xrevrange(stream, count=1)
            cursor = newest[0][0] if newest else "0-0"
        while True:
            for _, entries in await redis.xread({stream: cursor}, count=100, block=15_000):
                for cursor, fields in entries:
                    yield ServerSentEvent(data=fields["payload"], event="output", id=cursor)

    @app.get("/stream/{session}")
    async def stream(session: int, request: Request) -> EventSourceResponse:
        return EventSourceResponse(events(f"events:{session}", request.headers.get("last-event-id")))

    return app


if __name__ == "__main__":
    store = Redis(port=int(sys.argv[2]), decode_responses=True, max_connections=20_000)
    uvicorn.run(create_app(store), host=LOOPBACK, port=int(sys.argv[1]), access_log=False, log_level="warning")
