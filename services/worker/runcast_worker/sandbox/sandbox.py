"""The sandbox of one worker: found once at start, used for every process that an agent causes."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runcast_agents import SandboxPolicy
from runcast_worker.guard.orders import Orders
from runcast_worker.sandbox.bubblewrap import PROGRAM, STRICT, wrapped
from runcast_worker.sandbox.child import Child, child
from runcast_worker.sandbox.visible import check_program

Tier = Literal["bubblewrap", "reduced"]
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`tier`: what it can do, as logging and the task tell it. `program` and `flags`: bubblewrap's absolute path and
    options, as probed; looked up for each command it could be one that an agent has put on its own PATH."""

    tier: Tier
    flags: tuple[str, ...] = STRICT
    program: str = f"/usr/bin/{PROGRAM}"

    @asynccontextmanager
    async def run(
        self,
        argv: Sequence[str],
        workspace: Path,
        policy: SandboxPolicy,
        *,
        environ: Mapping[str, str] | None = None,
        tty: bool = False,
    ) -> AsyncIterator[Child]:
        """Start a command in a workspace. `environ`: given to it besides the allowlist. `tty`: stdin, stdout and stderr
        are one terminal, read as stdout. At the end, also by cancellation, SIGTERM to its processes if any still runs,
        then SIGKILL; none is left. Raises OSError where it cannot be started."""
        given = environment(workspace) | dict(environ or {})
        confined = self.tier == "bubblewrap"
        if confined:
            check_program(argv[0], workspace, policy, given["PATH"], self.program)
            argv = wrapped(argv, workspace, policy, tty=tty, program=self.program, flags=self.flags)
        orders = Orders(
            confined=confined,
            tty=tty,
            network=policy.network,
            memory=policy.memory_mb * _MB,
            processes=policy.processes,
            file=policy.file_mb * _MB,
            disk=policy.disk_mb * _MB,
            cpu_s=policy.cpu_s,
            argv=tuple(argv),
        )
        async with child(orders, workspace, given) as running:
            yield running


def environment(workspace: Path) -> dict[str, str]:
    """All that a tool's process is given: an allowlist, so that no secret of the worker's can leak."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": str(workspace), "TMPDIR": "/tmp"}  # noqa: S108
