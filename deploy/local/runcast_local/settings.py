"""Settings of the local stack and of its edge, from RUNCAST_*."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from runcast_service.logging import LogFormat
from runcast_service.settings import Port

FirstPort = Annotated[int, Field(ge=1, le=65533)]
"""The first of three."""

_CONFIG = SettingsConfigDict(env_prefix="RUNCAST_", env_ignore_empty=True, extra="ignore", frozen=True)


class StackSettings(BaseSettings):
    """`up` and `demo`. What else is set in the environment reaches the services as it is."""

    model_config = _CONFIG

    redis_url: str | None = None
    """Queue store. Unset: a store is found or started."""
    events_redis_url: str | None = None
    """Events store. Unset: the queue store."""
    host: str = "127.0.0.1"
    """Address the edge listens on; the services behind it stay on loopback."""
    port: FirstPort = 8080
    """Port of the edge. The api gets the next one, the gateway the one after."""
    admin_port: FirstPort = 9101
    """Admin port of the api; the gateway and the worker get the next two."""
    agents_file: Path | None = None
    """Unset: the one that comes with this package, with agents to try and develop with."""
    workspaces: Path | None = None
    """Folder of the sessions' workspaces. Unset: in the stack's own folder."""
    drain_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """At the end running tasks and open streams get this long; a task that has not ended goes on at the next `up`."""


class EdgeSettings(BaseSettings):
    """The edge as a process of its own: `python -m runcast_local edge`."""

    model_config = _CONFIG

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8080
    """Port of the one origin."""
    api_url: str = "http://127.0.0.1:8081"
    """Where the api is."""
    gateway_url: str = "http://127.0.0.1:8082"
    """Where the stream-gateway is."""
    routes_file: Path = Path(__file__).resolve().parents[2] / "routes.toml"
    """The table of routes. Default: deploy/routes.toml of the checkout that this package is run from."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged."""
    log_format: LogFormat = "auto"
    """`json`: a line is an object; `console`: for people; `auto`: that at a terminal, else JSON."""
