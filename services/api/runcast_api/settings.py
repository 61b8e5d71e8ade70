"""Settings of the api service."""

from pathlib import Path

from runcast_agents.agents import AgentName
from runcast_service.settings import HttpSettings, Seconds


class ApiSettings(HttpSettings):
    """The api process."""

    agents_file: Path | None = None
    """The agents there are (`agents.toml`). Unset: the demo agent alone."""
    default_agent: AgentName | None = None
    """The agent of a task that names none. Unset: `demo`, or the only one there is."""
    body_timeout_s: Seconds = 10
    """How long a client may take to send a request's body."""
    store_timeout_s: Seconds = 1
    """How long one answer of a store is waited for; a request is refused after about three times as long."""
    delete_wait_s: Seconds = 10
    """How long a forced delete waits for the session's tasks to end."""
