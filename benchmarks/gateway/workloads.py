"""What is asked of every system: one of the four modes of the load client (load/), with its numbers."""

from dataclasses import dataclass
from typing import Literal

MISSED = 10_000
FAST = ("ours", "nchan", "floor")


@dataclass(frozen=True, slots=True)
class Workload:
    """`clients` and `rate` (events a second): of all sessions together, dealt to them in turn.

    `leave`: clients that are connected go at once. `watched`: of a storm, the clients that stay, whose latency is
    measured. `systems`: who is asked; empty means all.
    """

    name: str
    text: str
    mode: Literal["live", "idle", "replay", "storm"]
    sessions: int
    clients: int
    rate: int = 0
    missed: int = 0
    gateways: int = 1
    leave: bool = False
    watched: int = 0
    warm_s: float = 1.5
    measure_s: float = 4.0
    systems: tuple[str, ...] = ()

    @property
    def resumes(self) -> bool:
        """Whether clients come back to what they missed."""
        return self.mode in ("replay", "storm")


WORKLOADS = (
    Workload("W1", "1 session x 1,000 clients, 50 events/s", "live", 1, 1000, 50),
    Workload("W2", "1,000 sessions x 1 client, 10,000 events/s", "live", 1000, 1000, 10_000),
    Workload("W3", "200 sessions x 5 clients, 1,500 events/s", "live", 200, 1000, 1500),
    Workload("W4", "100 sessions x 1 client, 5,000 events/s", "live", 100, 100, 5000),
    Workload("FULL", "1 session x 1,000 clients, 100 events/s", "live", 1, 1000, 100, systems=FAST),
    Workload("SESSIONS1k", "1,000 sessions x 1 client, 5,000 events/s", "live", 1000, 1000, 5000, systems=FAST),
    Workload("SESSIONS10k", "10,000 sessions x 1 client, 5,000 events/s", "live", 10_000, 10_000, 5000, systems=FAST),
    Workload("FLEET1", "1 gateway, 250 sessions x 1 client, 1,250 events/s", "live", 250, 250, 1250, systems=("ours",)),
    Workload("FLEET4", "4 gateways, each of them as FLEET1's", "live", 1000, 1000, 5000, gateways=4, systems=("ours",)),
    Workload("IDLE1k", "1,000 clients of a session each, nothing happens", "idle", 1000, 1000),
    Workload("IDLE5k", "5,000 clients", "idle", 5000, 5000),
    Workload("IDLE10k", "10,000 clients", "idle", 10_000, 10_000),
    Workload("CONNECT", "5,000 clients that come and go, 64 at a time", "idle", 5000, 5000, leave=True),
    Workload("REPLAY1", "1 client comes back to 10,000 missed events", "replay", 1, 1, missed=MISSED),
    Workload("REPLAY50", "50 clients at once", "replay", 1, 50, missed=MISSED),
    Workload(
        "STORM",
        "2,000 of 2,100 clients of 100 sessions drop and come back at once, 500 events/s",
        "storm",
        100,
        2100,
        500,
        watched=100,
    ),
)
NAMES = {workload.name: workload for workload in WORKLOADS}
