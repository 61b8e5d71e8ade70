"""What api tests share: the app in this process, a client over ASGI, and what a problem must look like."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from fastapi import FastAPI

from runcast_agents import load_agents
from runcast_api.app import choose_default, connected, create_app
from runcast_api.metrics import Metrics
from runcast_api.settings import ApiSettings
from runcast_api.state import State


class Api:
    """A running app: `client` talks to it, `state` is what its routes see, `app` is bare ASGI."""

    def __init__(self, fastapi: FastAPI, state: State) -> None:
        self.fastapi, self.state = fastapi, state
        transport = httpx2.ASGITransport(self.app)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://api")

    async def app(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await self.fastapi({**scope, "state": dict(self.state)}, receive, send)

    async def submit(self, task: str = "hello", **fields: object) -> str:
        """A queued task; returns its id."""
        answer = await self.client.post("/api/tasks", json={"task": task, **fields})
        assert answer.status_code == 202, answer.text
        task_id: str = answer.json()["task_id"]
        return task_id


@asynccontextmanager
async def running(settings: ApiSettings) -> AsyncIterator[Api]:
    """Without the admin endpoint, whose server takes longer to end than most tests."""
    agents = load_agents(settings.agents_file)
    async with connected(settings, agents, choose_default(settings, agents), Metrics()) as state:
        api = Api(create_app(settings), state)
        async with api.client:
            yield api


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The document of an answer that must be this problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["title"]
    assert document["detail"]
    return document
