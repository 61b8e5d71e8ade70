"""A collector, and the services of a test's own process that export to it."""

from collections.abc import AsyncIterator

import pytest

from tests.observing.collector import Collector, collecting


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector
