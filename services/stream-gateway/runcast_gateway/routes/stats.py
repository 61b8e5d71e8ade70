"""`/stream/stats`: what this gateway process does for clients; /metrics counts the audit's own log as well."""

from typing import cast

from fastapi import APIRouter, Request

from runcast_gateway.state import State

router = APIRouter(prefix="/stream", tags=["stream"])


@router.get("/stats", operation_id="streams_stats", summary="What this gateway process does")
async def stats(request: Request) -> dict[str, object]:
    state = cast(State, request.scope["state"])
    connections, hub = state["connections"], state["hub"]
    return {
        "server": state["server"],
        "connections": len(connections),
        "live": connections.live,
        "transports": connections.transports(),
        "channels": hub.channels - state["auditor"].following,
        "draining": connections.draining,
        "subscriber": {"connected": hub.subscriber.connected, "reconnects": max(0, hub.subscriber.reconnects)},
        "publications": {"followed": hub.stats.followed, "changed": hub.stats.changed},
        "repairs": {"reads": hub.stats.repairs, "events": hub.stats.repaired},
        "gaps": hub.stats.gaps,
    }
