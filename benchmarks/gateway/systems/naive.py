"""What most people write first: sse-starlette, and a blocking XREAD for each client (naive_server.py)."""

import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gateway.plan import SessionPlan, payload
from benchmarks.gateway.systems.system import Running
from benchmarks.gateway.workloads import Workload
from benchmarks.stack import Stack
from runcast_local.store import free_port

SERVER = Path(__file__).with_name("naive_server.py")
MOST_CLIENTS = 5000
"""Each needs two files, of which a process often has 20,000."""
STREAM = "events:{index}"
KEEP = "20000"


class Naive:
    name = "naive"

    def cannot(self, workload: Workload) -> str:
        if find_spec("sse_starlette") is None:
            return "sse-starlette is not installed"
        if workload.clients > MOST_CLIENTS:
            return "it needs two files a client"
        return ""

    def start(self, stack: Stack, workload: Workload, programs: Path) -> Running:
        store = stack.store()
        port, store_port = free_port(), int(stack.redis_url.rpartition(":")[2].partition("/")[0])
        process = stack.peer(self.name, (sys.executable, str(SERVER), str(port), str(store_port)), port)
        plans = [_plan(index) for index in range(workload.sessions)]
        # A client without a cursor starts at the end, so one that missed everything names the beginning.
        return Running([port], [process.pid], plans, store_port, "$", (store.pid,), cursor="0-0")


def _plan(index: int) -> SessionPlan:
    body = payload(index)
    command = (b"XADD", STREAM.format(index=index).encode(), b"MAXLEN", b"~", KEEP.encode(), b"*", b"payload", body)
    arguments = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in command)
    return SessionPlan(f"/stream/{index}", body, tail=b"*%d\r\n" % len(command) + arguments)
