"""Workspaces of sessions that are gone are removed, and no others."""

import os
from pathlib import Path
from time import time

from redis.asyncio import Redis

from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_tasks.control import Control
from runcast_worker.janitor import Janitor
from runcast_worker.workspace import OWNED
from tests.attempts import TENANT
from tests.worker.conftest import Client, StartWorker


async def test_a_deleted_sessions_workspace_is_removed(
    client: Client, start_worker: StartWorker, redis: Redis, tmp_path: Path
) -> None:
    """With all that is in it, but not what its links lead to; a live session's is kept."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    async with start_worker() as deps:
        for session_id in ("kept", "gone"):
            await client.ended(await client.submit("list files", session_id))
        folder = deps.settings.workspaces / TENANT / "gone"
        (folder / "sub").mkdir()
        (folder / "link").symlink_to(outside)
        await Control(redis, EventLog(redis), Keyspace(), TENANT).delete_session("gone")
        await Janitor(deps).clean()
        assert not folder.exists()
        assert (deps.settings.workspaces / TENANT / "kept").is_dir()
        assert (outside / "file").read_text() == "kept"


async def test_the_workspace_of_a_session_that_the_store_lost_is_kept_for_long(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """It may come back with a restore. Twice a session's life later nobody will want it."""
    async with start_worker(session_ttl_s=1000) as deps:
        for name, age_s in (("recent", 1500), ("old", 2500)):
            await client.ended(await client.submit("list files", name))
            marker = deps.settings.workspaces / TENANT / OWNED / name
            os.utime(marker, (time() - age_s, time() - age_s))
        await redis.flushdb()
        await Janitor(deps).clean()
        assert (deps.settings.workspaces / TENANT / "recent").is_dir()
        assert not (deps.settings.workspaces / TENANT / "old").exists()


async def test_a_folder_that_no_worker_of_ours_made_is_left_alone(start_worker: StartWorker, tmp_path: Path) -> None:
    """Whatever stands below RUNCAST_WORKSPACES, and however old: also another deployment's on the same volume."""
    async with start_worker(session_ttl_s=1) as deps:
        root = deps.settings.workspaces
        folders = [root / "Documents" / "thesis", root / TENANT / "mine", root / TENANT / "theirs"]
        for folder in folders:
            folder.mkdir(parents=True)
            os.utime(folder, (0, 0))
        (root / TENANT / OWNED).mkdir()
        (root / TENANT / OWNED / "theirs").write_text("another:")
        os.utime(root / TENANT / OWNED / "theirs", (0, 0))
        await Janitor(deps).clean()
        assert all(folder.is_dir() for folder in folders)
