"""The janitor: removes the workspaces of sessions that were deleted, or that the store forgot long ago."""

import asyncio
import logging
import os
import shutil
from itertools import islice
from pathlib import Path
from time import time

from redis.exceptions import RedisError

from runcast_tasks.record import Records
from runcast_worker.deps import Deps

logger = logging.getLogger(__name__)

EVERY_S = 60.0
SLICE = 200
"""Folders that are looked at together; there may be hundreds of thousands."""
SLICE_PAUSE_S = 0.05


class Janitor:
    """One of them runs in each worker; on a shared volume they do each other's work without harm.

    A session that is gone without a tombstone may have been lost by the store and come back with a restore: its
    folder is kept for twice RUNCAST_SESSION_TTL_S after its last change."""

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
        for tenant in await asyncio.to_thread(_folders, root):
            names = iter(await asyncio.to_thread(_folders, root / tenant))
            while some := list(islice(names, SLICE)):
                await self._clean_some(root / tenant, tenant, some)
                await asyncio.sleep(SLICE_PAUSE_S)

    async def _clean_some(self, folder: Path, tenant: str, names: list[str]) -> None:
        fates = await Records(self._deps.events, self._deps.keyspace, tenant).fates(names)
        for name, fate in zip(names, fates, strict=True):
            if fate == "deleted" or (fate == "unknown" and await asyncio.to_thread(self._old, folder / name)):
                logger.info("removing the workspace of a session that is gone", extra={"session_id": name})
                await asyncio.to_thread(shutil.rmtree, folder / name, ignore_errors=True)

    def _old(self, folder: Path) -> bool:
        try:
            return folder.stat().st_mtime < time() - 2 * self._deps.settings.session_ttl_s
        except OSError:
            return False


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
