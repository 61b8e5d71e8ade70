"""What the gateway's requests share: made by the lifespan, typed."""

from typing import TypedDict, cast

from fastapi import Request

from runcast_events.hub import Hub
from runcast_events.keys import Keyspace
from runcast_events.reader import LogReader
from runcast_gateway.connections import Connections
from runcast_gateway.metrics import Metrics
from runcast_gateway.settings import GatewaySettings
from runcast_tasks.record import Records


class State(TypedDict):
    settings: GatewaySettings
    server: str
    keyspace: Keyspace
    reader: LogReader
    records: Records
    hub: Hub
    connections: Connections
    metrics: Metrics


def state_of(request: Request) -> State:
    return cast(State, request.scope["state"])
