"""What the gateway's requests share: made by the lifespan, typed."""

from typing import TypedDict

from runcast_events.hub import Hub
from runcast_events.keys import Keyspace
from runcast_gateway.audit import Auditor
from runcast_gateway.commands.api import Api
from runcast_gateway.metrics import Metrics
from runcast_gateway.settings import GatewaySettings
from runcast_gateway.streams.connections import Connections
from runcast_tasks.record import Records


class State(TypedDict):
    settings: GatewaySettings
    server: str
    keyspace: Keyspace
    records: Records
    hub: Hub
    auditor: Auditor
    connections: Connections
    metrics: Metrics
    api: Api
