"""Gateways as a deployment has them: processes, configured by RUNCAST_*, and what they tell of themselves."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from runcast_local import leash
from runcast_local.store import free_port
from tests.conftest import wait_until
from tests.gateway.running import NO_TLS

SETTINGS = {"log_level": "WARNING", "retry_ms": 100, "send_timeout_s": 4}
END_S = 20.0


@dataclass
class Gateway:
    """One process. `port`: where clients come."""

    process: asyncio.subprocess.Process
    port: int
    admin_port: int
    http: httpx2.AsyncClient

    @property
    def pid(self) -> int:
        return self.process.pid

    async def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get(f"http://127.0.0.1:{self.port}/stream/stats")).json()
        return found

    async def ready(self) -> bool:
        try:
            return (await self.http.get(f"http://127.0.0.1:{self.admin_port}/readyz")).is_success
        except httpx2.TransportError:
            return False

    async def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        await self.process.wait()

    async def drain(self) -> int:
        """SIGTERM; returns the exit code when the process has ended."""
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), END_S)


@asynccontextmanager
async def gateway_process(redis_url: str, **settings: object) -> AsyncIterator[Gateway]:
    """`python -m runcast_gateway`, ready; it ends with the block, and with us should we be killed."""
    port, admin_port = free_port(), free_port()
    chosen = {**SETTINGS, "redis_url": redis_url, "port": port, "admin_port": admin_port, **settings}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RUNCAST_")}
    environ |= {f"RUNCAST_{name.upper()}": str(value) for name, value in chosen.items()}
    bound = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()))
    process = await asyncio.create_subprocess_exec(*bound, sys.executable, "-m", "runcast_gateway", env=environ)
    async with httpx2.AsyncClient(verify=NO_TLS, trust_env=False, timeout=10) as http:
        gateway = Gateway(process, port, admin_port, http)
        try:
            await wait_until(gateway.ready, 20, "the gateway did not become ready")
            yield gateway
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), END_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()
