"""The sandbox of one worker: found once at start, used for every process that an agent causes."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runcast_agents import SandboxPolicy
from runcast_worker.sandbox.child import Child, child

Tier = Literal["bubblewrap", "reduced"]


class SandboxMissing(Exception):
    """RUNCAST_SANDBOX=required, and this machine has no working bubblewrap; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`tier`: what it can do, as logging and the task tell it."""

    tier: Tier

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
        async with child(argv, workspace, environment(workspace) | dict(environ or {})) as running:
            yield running


def environment(workspace: Path) -> dict[str, str]:
    """All that a tool's process is given: an allowlist, so that no secret of the worker's can leak."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": str(workspace), "TMPDIR": "/tmp"}  # noqa: S108


async def find_sandbox(mode: Literal["auto", "required", "reduced"]) -> Sandbox:
    """Probe what this machine allows. Raises SandboxMissing."""
    if mode == "required":
        raise SandboxMissing("RUNCAST_SANDBOX=required: no sandbox here")
    return Sandbox("reduced")
