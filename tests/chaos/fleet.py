"""A fleet of worker processes that a test kills, stops and replaces; whatever happens, they end with the test."""

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import Iterator
from types import TracebackType

from tests.chaos.recording import Lapse, Loss
from tests.conftest import wait_until
from tests.workers import worker_process

UP = re.compile(r"worker (\S+) is up")
LAPSED = re.compile(r"the lease of (\S+) could not be renewed in time")
START_S = 30.0


class Worker:
    """One process. `lines`: what it has logged so far."""

    def __init__(self, process: asyncio.subprocess.Process, lines: list[str]) -> None:
        self.process, self.lines = process, lines
        self._name: str | None = None

    @property
    def name(self) -> str | None:
        """As task_started tells it. None: it is not up yet."""
        if self._name is None:
            self._name = next((found[1] for line in self.lines if (found := UP.search(line))), None)
        return self._name

    @property
    def alive(self) -> bool:
        return self.process.returncode is None


class Fleet:
    """Use as an async context manager. `settings`: of every worker. `lost`: those that were killed or stopped."""

    def __init__(self, **settings: object) -> None:
        self._settings = settings
        self._owner = contextlib.AsyncExitStack()
        self._workers: list[Worker] = []
        self.lost: list[Loss] = []

    async def __aenter__(self) -> "Fleet":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            if worker.alive:
                worker.process.kill()
        await self._owner.aclose()

    def __iter__(self) -> Iterator[Worker]:
        """Those that are alive."""
        return iter([worker for worker in self._workers if worker.alive])

    @property
    def up(self) -> list[Worker]:
        """Those that can be given work."""
        return [worker for worker in self if worker.name is not None]

    @property
    def lines(self) -> list[str]:
        """What all have logged."""
        return [f"{worker.name}: {line}" for worker in self._workers for line in worker.lines]

    @property
    def lapsed(self) -> frozenset[Lapse]:
        """Leases that workers could not renew in time, as they say themselves."""
        return frozenset(
            Lapse(worker.name or "", found[1])
            for worker in self._workers
            for line in worker.lines
            if (found := LAPSED.search(line))
        )

    async def start(self, count: int = 1) -> list[Worker]:
        """Start some, without waiting for them."""
        entered = [await self._owner.enter_async_context(worker_process(**self._settings)) for _ in range(count)]
        started = [Worker(process, lines) for process, lines in entered]
        self._workers += started
        return started

    async def start_up(self, count: int = 1) -> list[Worker]:
        """Start some; returns when they can be given work."""
        started = await self.start(count)
        await wait_until(lambda: all(worker.name for worker in started), START_S, "workers do not come up")
        return started

    def named(self, name: str) -> Worker:
        return next(worker for worker in self._workers if worker.name == name)

    async def kill(self, worker: Worker) -> None:
        """SIGKILL."""
        assert worker.name is not None
        self.lost.append(Loss(worker.name, time.time() * 1000))
        worker.process.kill()
        await worker.process.wait()

    def note_losses(self) -> None:
        """Of workers that have ended by themselves since the last time."""
        known = {loss.worker for loss in self.lost}
        for worker in self._workers:
            if not worker.alive and worker.name is not None and worker.name not in known:
                self.lost.append(Loss(worker.name, time.time() * 1000))

    def stop(self, worker: Worker) -> None:
        """SIGSTOP: for the others it is lost, until it goes on."""
        assert worker.name is not None
        self.lost.append(Loss(worker.name, time.time() * 1000))
        worker.process.send_signal(signal.SIGSTOP)

    def go_on(self, worker: Worker) -> None:
        worker.process.send_signal(signal.SIGCONT)
