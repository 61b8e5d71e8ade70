"""The api in this process: its lifespan, and a client over ASGI."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from runcast_api.settings import ApiSettings
from tests.api.running import Api, running


@pytest.fixture
def settings(redis_url: str) -> ApiSettings:
    return ApiSettings(redis_url=redis_url)


@pytest.fixture
async def api(redis: Redis, settings: ApiSettings) -> AsyncIterator[Api]:
    """`redis` comes first, so that its leak check comes last."""
    async with running(settings) as api:
        yield api
