"""nchan, a module of nginx in C, with its store in memory: https://nchan.io"""

import resource
import shutil
from pathlib import Path
from string import Template

from benchmarks.gateway.plan import SessionPlan, payload, posting
from benchmarks.gateway.systems.system import Running
from benchmarks.gateway.workloads import Workload
from benchmarks.stack import Stack
from runcast_local.store import free_port

CONFIGURATION = Path(__file__).with_name("nchan.conf")
MODULES = tuple(
    Path(folder) / "ngx_nchan_module.so" for folder in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules")
)


class Nchan:
    name = "nchan"

    def cannot(self, workload: Workload) -> str:
        if not (_nginx() and _module()):
            return "not installed: on Debian, apt-get install nginx-core libnginx-mod-nchan"
        return "its memory is one process's" if workload.gateways > 1 else ""

    def start(self, stack: Stack, workload: Workload, programs: Path) -> Running:
        port = free_port()
        configuration = stack.folder / "nchan.conf"
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        text = Template(CONFIGURATION.read_text())
        configuration.write_text(text.substitute(folder=stack.folder, module=_module(), port=port, files=files))
        command = (str(_nginx()), "-p", str(stack.folder), "-c", str(configuration), "-e", "stderr")
        process = stack.peer(self.name, command, port)
        first = "oldest" if workload.mode == "replay" else "newest"
        plans = [_plan(index, first) for index in range(workload.sessions)]
        return Running([port], [process.pid], plans, port, "HTTP/1.1 2")


def _nginx() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def _module() -> Path | None:
    return next((module for module in MODULES if module.exists()), None)


def _plan(index: int, first: str) -> SessionPlan:
    body = payload(index)
    return SessionPlan(f"/{first}/{index}", body, tail=posting(f"/publish/{index}", body))
