"""The worker's settings, from RUNCAST_*. The table of all settings: docs/settings.md."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from runcast_service.settings import Seconds, ServiceSettings


class WorkerSettings(ServiceSettings):
    """One worker process."""

    agents_file: Path | None = None
    """The agents (TOML). Unset: the demo agent alone."""
    workspaces: Path = Path("workspaces")
    """Folder of the sessions' workspaces: a shared volume where workers are several."""
    max_jobs: Annotated[int, Field(ge=1, le=1000)] = 10
    """Tasks that this process runs at a time."""
    lease_ttl_s: Annotated[float, Field(ge=0.3)] = 15.0
    """How long a worker that is not heard of is believed to hold its task."""
    poll_delay_s: Seconds = 0.5
    """An idle worker looks at the queue this often when nothing wakes it."""
    drain_s: Annotated[float, Field(ge=0)] = 25.0
    """After SIGTERM running tasks get this long to end by themselves; then another worker takes them over.
    Whoever sends SIGKILL must wait ten seconds longer than this."""
    reap_every_s: Seconds = 1.0
    """How often to look for tasks that nobody looks after."""
