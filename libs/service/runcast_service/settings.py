"""Settings that several services share. Each service has its own class, built in its `__main__` from RUNCAST_*.

The table of all settings: docs/settings.md (a test keeps it complete).
"""

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from runcast_events.store_url import parse_store_url
from runcast_service.logging import LogFormat

Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


def _store_url(url: str) -> str:
    parse_store_url(url)
    return url


def _collector_url(url: str) -> str:
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        raise ValueError("OpenTelemetry is not installed: pip install 'runcast-service[otlp]'")
    return url


StoreUrl = Annotated[str, AfterValidator(_store_url)]
CollectorUrl = Annotated[str, Field(pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$"), AfterValidator(_collector_url)]


def explain(error: ValidationError) -> str:
    """What is wrong with the environment, in a sentence for each setting; no value is shown, it may be a secret."""
    sentences = []
    for each in error.errors():
        name = "_".join(str(part) for part in each["loc"][:1]).upper()
        sentences.append(f"RUNCAST_{name}: {each['msg'].removeprefix('Value error, ')}")
    return "; ".join(sentences)


class ServiceSettings(BaseSettings):
    """Every process. Port 0 means any free one."""

    model_config = SettingsConfigDict(env_prefix="RUNCAST_", env_ignore_empty=True, extra="ignore", frozen=True)

    redis_url: StoreUrl = "redis://127.0.0.1:6379/0"
    """Queue store: arq, wake channel, indexes. Losing it loses no task."""
    events_redis_url: StoreUrl | None = None
    """Events store: logs, records, leases. Unset: the queue store."""
    replica_acks: Annotated[int, Field(ge=0, le=10)] = 0
    """Replicas of the events store that must have a task before it is accepted, its checkpoints and its end. 0: none is
    waited for."""
    key_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9:_-]{0,64}$")] = "runcast:"
    """Before every key and channel; two deployments on one server differ in it."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged."""
    log_format: LogFormat = "auto"
    """`json`: a line is an object; `console`: for people; `auto`: that at a terminal, else JSON."""
    otlp_endpoint: CollectorUrl | None = None
    """A collector that takes spans by OTLP over HTTP, such as `http://collector:4318`. Unset: nothing is recorded."""
    admin_port: Port = 0
    """Port of /livez, /readyz and /metrics."""
    session_ttl_s: Seconds = 7 * 24 * 3600
    """How long a session is kept after its last task ended."""
    log_max_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    """Bytes of a session's event log before its oldest events are trimmed."""
    log_max_entries: Annotated[int, Field(ge=16)] = 100_000
    """Events of a session's log before its oldest are trimmed."""

    @property
    def events_url(self) -> str:
        return self.events_redis_url or self.redis_url


class HttpSettings(ServiceSettings):
    """A process that clients reach."""

    port: Port = 0
    """Port for clients."""
    auth: Literal["none"] = "none"
    """How callers are known. `none` is the only mode yet: put nothing of it on the internet."""
