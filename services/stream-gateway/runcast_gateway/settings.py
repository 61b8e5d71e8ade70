"""The gateway's settings, from RUNCAST_*."""

from typing import Annotated

from pydantic import Field

from runcast_service.settings import HttpSettings, Seconds


class GatewaySettings(HttpSettings):
    """`heartbeat_s` must stay below the idle timeout of every proxy on the way; common ones cut at 30 to 60 s."""

    heartbeat_s: Seconds = 15.0
    """Longest silence of a stream (±10 %); then a comment line is sent. WebSockets are pinged this often."""
    send_timeout_s: Seconds = 30.0
    """A client that takes nothing for this long is closed; it resumes from its cursor."""
    drain_s: Annotated[float, Field(ge=0)] = 5.0
    """At SIGTERM open streams end spread over this time."""
    max_age_s: Seconds = 3600.0
    """After this time (±10 %) a stream ends and its client comes back, perhaps to another gateway."""
    max_streams: Annotated[int, Field(ge=1)] = 20_000
    """Streams that this process holds at once; more are asked to come back later. Each takes an open file."""
    max_streams_per_principal: Annotated[int, Field(ge=0)] = 0
    """Of these, streams of one caller, which is an address until callers have names; 0: as many as there are."""
    gzip: bool = True
    """Whether streams are compressed for clients that ask for it, as browsers do: some seven times fewer bytes, for
    16 KB a connection and a few microseconds a delivery."""
    api_url: Annotated[str, Field(pattern=r"^https?://[^/?#@]+/?$")] = "http://127.0.0.1:8081"
    """Where the api is, for the commands of WebSocket clients."""
    origins: Annotated[str, Field(pattern=r"^https?://[^/?#,]+(,https?://[^/?#,]+)*$")] | None = None
    """Other origins whose pages may open WebSockets here, separated by commas. Unset: pages of this origin alone."""
    retry_ms: Annotated[int, Field(ge=100, le=600_000)] = 2000
    """What clients are told to wait before they reconnect; jittered from this to three times it."""

    @property
    def known_origins(self) -> frozenset[str]:
        return frozenset((self.origins or "").lower().split(","))
