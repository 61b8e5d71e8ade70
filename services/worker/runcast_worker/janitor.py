"""The janitor: removes the workspaces of sessions that were deleted, or that the store forgot long ago."""

import asyncio
import logging
import os
import shutil
from itertools import islice
from pathlib import Path
from time import time

from redis.exceptions import RedisError

from runcast_events.errors import InvalidId
from runcast_events.ids import check_session_id, check_tenant
from runcast_tasks.record import Records
from runcast_worker.deps import Deps
from runcast_worker.workspace import OWNED

logger = logging.getLogger(__name__)

EVERY_S = 60.0
SLICE = 200
"""Folders that are looked at together; there may be hundreds of thousands."""
SLICE_PAUSE_S = 0.05


class Janitor:
    """One of them runs in each worker; on a shared volume they do each other's work without harm.

    It removes only what a worker of this deployment has marked as a session's (see workspace.py). A session that is
    gone without a tombstone may have been lost by the store and come back with a restore: its folder is kept for twice
    RUNCAST_SESSION_TTL_S after its last attempt began."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.clean()
            except (RedisError, OSError) as error:
                logger.warning("workspaces could not be cleaned up: %s", error)

    async def clean(self) -> None:
        """Look at every workspace once. Raises RedisError, OSError."""
        root = self._deps.settings.workspaces
        for tenant in await asyncio.to_thread(_names, root):
            names = iter(await asyncio.to_thread(self._ours, root / tenant))
            while some := list(islice(names, SLICE)):
                await self._clean_some(root / tenant, tenant, some)
                await asyncio.sleep(SLICE_PAUSE_S)

    async def _clean_some(self, folder: Path, tenant: str, names: list[str]) -> None:
        fates = await Records(self._deps.events, self._deps.keyspace, tenant).fates(names)
        for name, fate in zip(names, fates, strict=True):
            if fate == "deleted" or (fate == "unknown" and await asyncio.to_thread(self._old, folder / OWNED / name)):
                logger.info("removing the workspace of a session that is gone", extra={"session_id": name})
                await asyncio.to_thread(_remove, folder, name)

    def _ours(self, folder: Path) -> list[str]:
        """The sessions of a tenant that this deployment has marked."""
        try:
            check_tenant(folder.name)
        except InvalidId:
            return []
        return [name for name in _names(folder / OWNED) if _is_session(name) and self._marked(folder / OWNED / name)]

    def _marked(self, marker: Path) -> bool:
        try:
            return marker.read_text() == self._deps.settings.key_prefix
        except (OSError, UnicodeDecodeError):
            return False

    def _old(self, marker: Path) -> bool:
        try:
            return marker.stat().st_mtime < time() - 2 * self._deps.settings.session_ttl_s
        except OSError:
            return False


def _remove(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name, ignore_errors=True)
    if not (folder / name).exists():  # else it is tried again
        (folder / OWNED / name).unlink(missing_ok=True)


def _is_session(name: str) -> bool:
    try:
        check_session_id(name)
    except InvalidId:
        return False
    return True


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
