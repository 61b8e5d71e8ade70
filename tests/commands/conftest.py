"""A stage for the tests here, open on an event loop of its own: hypothesis runs its rules one by one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from runcast_local.store import Store
from tests.commands.stage import Stage
from tests.conftest import DATABASES, wait_until


class Held:
    """A stage that is opened and closed by one and the same task, as its task groups need it."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._ready, self._over = stage, asyncio.Event(), asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._serving = asyncio.create_task(self._serve())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            await self._serving

    async def close(self) -> None:
        assert self._serving is not None
        self._over.set()
        await self._serving

    async def _serve(self) -> None:
        async with self._stage.opened():
            self._ready.set()
            await self._over.wait()


@pytest.fixture
def on_stage(redis_url: str, tmp_path: Path) -> Iterator[tuple[Stage, asyncio.Runner]]:
    """Both are there until the test ends."""
    stage = Stage(redis_url, tmp_path)
    with asyncio.Runner() as runner:
        held = Held(stage)
        runner.run(held.open())
        try:
            yield stage, runner
            runner.run(wait_until(stage.clean, message="keys that would never expire"))
        finally:
            runner.run(held.close())


@pytest.fixture(scope="module")
def module_url(store: Store) -> str:
    """A database for all tests of a module, which no other test is given."""
    return f"redis://127.0.0.1:{store.port}/{DATABASES}"
