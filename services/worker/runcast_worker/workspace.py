"""Workspaces: the folder that an agent's tools see. One per session, or the agent's own that all its sessions share."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runcast_agents import Agent

OWNED = ".runcast"
"""Beside a tenant's workspaces: a file for each session whose folder is ours to remove, with our key prefix in it."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """`folder` is absolute and without symlinks. `origin`: what task_started tells, `new` for an empty one."""

    folder: Path
    origin: Literal["kept", "new"]


async def open_workspace(root: Path, key_prefix: str, agent: Agent, tenant: str, session_id: str) -> Workspace:
    """The workspace of a session, made where it is missing. Raises OSError where that cannot be done."""
    # In a thread: the folder is on a shared volume, which may take its time.
    if agent.workspace is not None:
        return await asyncio.to_thread(_open, agent.workspace)
    return await asyncio.to_thread(_open_own, root / tenant, session_id, key_prefix)


def _open_own(tenant: Path, session_id: str, key_prefix: str) -> Workspace:
    (tenant / OWNED).mkdir(mode=0o700, parents=True, exist_ok=True)
    (tenant / OWNED / session_id).write_text(key_prefix)  # its time is that of the last attempt
    return _open(tenant / session_id)


def _open(folder: Path) -> Workspace:
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(f"the workspace {folder} is not a folder") from None
        return Workspace(folder.resolve(), "kept")
    return Workspace(folder.resolve(), "new")
