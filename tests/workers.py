"""Workers as a deployment has them: processes, configured by RUNCAST_*."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def worker_process(**settings: object) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """`python -m runcast_worker`, and the lines it logs."""
    environ = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environ |= {f"RUNCAST_{k.upper()}": str(v) for k, v in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runcast_worker", env=environ, stderr=asyncio.subprocess.PIPE
    )
    lines: list[str] = []

    async def read() -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            lines.append(line.decode().rstrip())

    reading = asyncio.create_task(read())
    try:
        yield process, lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
