"""Services as a deployment has them: processes, configured by RUNCAST_*; workers most of all."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping

Process = tuple[asyncio.subprocess.Process, list[str]]


def worker_process(**settings: object) -> contextlib.AbstractAsyncContextManager[Process]:
    """`python -m runcast_worker`, and the lines it logs."""
    return service_process("runcast_worker", **settings)


@contextlib.asynccontextmanager
async def service_process(
    module: str, environ: Mapping[str, str] | None = None, **settings: object
) -> AsyncIterator[Process]:
    """`python -m <module>`, and the lines it logs. `environ`: besides the settings."""
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    ours = {f"RUNCAST_{k.upper()}": str(v) for k, v in settings.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module), env=inherited | (environ or {}) | ours, stderr=asyncio.subprocess.PIPE
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
