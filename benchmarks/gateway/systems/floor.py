"""The floor: the least a server can do (floor.c)."""

from pathlib import Path

from benchmarks.gateway import programs as compiled
from benchmarks.gateway.plan import SessionPlan, payload, posting
from benchmarks.gateway.systems.system import Running
from benchmarks.gateway.workloads import Workload
from benchmarks.stack import Stack
from runcast_local.store import free_port


class Floor:
    name = "floor"

    def cannot(self, workload: Workload) -> str:
        if workload.resumes:
            return "it keeps no history"
        return "one process only" if workload.gateways > 1 else ""

    def start(self, stack: Stack, workload: Workload, programs: Path) -> Running:
        port = free_port()
        process = stack.peer(self.name, (str(compiled.compile_floor(programs)), str(port)), port)
        plans = [_plan(index) for index in range(workload.sessions)]
        return Running([port], [process.pid], plans, port, "HTTP/1.1 2")


def _plan(index: int) -> SessionPlan:
    body = payload(index)
    return SessionPlan(f"/{index}", body, tail=posting(f"/{index}", body))
