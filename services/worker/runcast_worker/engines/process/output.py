"""What a running program does, as it happens: it prints, time passes, it ends."""

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic

from runcast_worker.sandbox import Child

READ_BYTES = 16 * 1024
DRAIN_S = 0.5
DRAIN_BYTES = 1024 * 1024
"""What was printed before the end is still read; a process that lives on in the terminal does not hold this up."""


async def follow(running: Child, sample_s: float) -> AsyncGenerator[bytes | None, None]:
    """Pieces of its output; None every `sample_s` seconds while it runs. Ends with the program."""
    due = monotonic() + sample_s
    ended = asyncio.create_task(running.wait(), name="end of the process")
    reading: asyncio.Task[bytes] | None = _read(running)
    try:
        while not ended.done():
            await asyncio.wait(
                {ended} if reading is None else {ended, reading},
                timeout=max(0.0, due - monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if reading is not None and reading.done():
                data = reading.result()
                reading = _read(running) if data else None  # it may go on after it closed its terminal
                if data:
                    yield data
            if monotonic() >= due:
                due = monotonic() + sample_s
                if not ended.done():
                    yield None
        left = DRAIN_BYTES
        while reading is not None and left > 0:
            done, _ = await asyncio.wait({reading}, timeout=DRAIN_S)
            if not done or not (data := reading.result()):
                return
            left -= len(data)
            yield data
            reading = _read(running)
    finally:
        waiting = {ended} if reading is None else {ended, reading}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _read(running: Child) -> asyncio.Task[bytes]:
    return asyncio.create_task(running.stdout.read(READ_BYTES), name="terminal")
