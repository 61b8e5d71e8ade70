"""What a guard says to its worker, line by line, as it comes."""

import asyncio
import logging
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Consumption:
    """Of all its processes together. `cpu_s` counts those that have ended too."""

    rss_bytes: int
    cpu_s: float


class Report:
    """`started` gives the command's process id or raises OSError; `ended` its exit code, negative for a signal."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.killed: str | None = None
        self.consumption = Consumption(0, 0.0)

    async def listen(self, guard: asyncio.StreamReader) -> None:
        """Until the guard is gone. Where it went without a word somebody killed it, and the command with it."""
        try:
            while line := await guard.readline():
                self._hear(line.decode().split())
        except ConnectionError:
            pass
        finally:
            if not self.started.done():
                self.started.set_exception(OSError(0, "its guard ended before it began"))
                self.started.exception()  # nobody may be waiting
            if not self.ended.done():
                self.killed = "guard"
                self.ended.set_result(-9)

    def _hear(self, words: list[str]) -> None:
        match words:
            case ["broken", *error]:
                logger.error("a guard failed: %s", " ".join(error))
            case ["started", pid]:
                self.started.set_result(int(pid))
            case ["failed", number, *words]:
                self.started.set_exception(OSError(int(number), " ".join(words)))
            case ["sample", rss, cpu_s]:
                self.consumption = Consumption(int(rss), float(cpu_s))
            case ["ended", code, reason, cpu_s]:
                self.consumption = Consumption(0, float(cpu_s))
                self.killed = None if reason == "-" else reason
                self.ended.set_result(int(code))
