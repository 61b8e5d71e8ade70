"""What is measured: started on the first core, and what the load client has to know of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.gateway.plan import SessionPlan
from benchmarks.gateway.workloads import Workload
from benchmarks.stack import Stack


@dataclass(frozen=True, slots=True)
class Running:
    """`pids`: whose CPU and memory count. `greeting`: the event that opens a stream, where there is one.

    `acknowledged`: what stands in the one line that answers a published event. `first_sequence`: of the first event of
    each session. `cursor`: the Last-Event-ID from which a client has missed everything; empty where none is needed.
    `open_streams`: how many it believes to have, where it says so.
    """

    ports: Sequence[int]
    pids: Sequence[int]
    plans: Sequence[SessionPlan]
    publish_port: int
    acknowledged: str
    store_pids: Sequence[int] = ()
    greeting: str = ""
    cursor: str = ""
    first_sequence: int = 0
    open_streams: Callable[[], int] | None = None


class System(Protocol):
    """One of those that are compared."""

    @property
    def name(self) -> str: ...

    def cannot(self, workload: Workload) -> str:
        """Why it is left out of this workload; empty when it can do it."""
        ...

    def start(self, stack: Stack, workload: Workload, programs: Path) -> Running:
        """Start it, with sessions that can be followed and written. It ends with the stack. `programs`: a folder of
        what was compiled. Raises NotReady, NoCompiler."""
        ...
