"""The worker's settings, from RUNCAST_*. The table of all settings: docs/settings.md."""

from pathlib import Path
from typing import Annotated, Literal

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
    sandbox: Literal["auto", "required", "reduced"] = "auto"
    """Where tools run: `auto`: in bubblewrap where this machine lets it work, else with limits alone, which is logged
    and told by every task; `required`: refuse to start without bubblewrap; `reduced`: do not use it."""
    outputs_max_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """Bytes of a session's long tool outputs that are kept whole beside its log; what comes beyond is kept as head and
    tail only."""
    llm_provider: str = "openai"
    """The provider of models that are named without one: openai (and what is compatible), anthropic, google …"""
    llm_model: str | None = None
    """The model of llm agents that name none."""
    llm_base_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    """Where the provider's API is, if not at its own address. Its key is in the provider's own variable, such as
    OPENAI_API_KEY; many local servers need none."""
    llm_timeout_s: Seconds = 60.0
    """A model that says nothing for this long is given up and asked again, or fails the task."""
    llm_retries: Annotated[int, Field(ge=0, le=10)] = 3
    """How often a model is asked again after an error that may pass; what it had begun to say is reset."""
