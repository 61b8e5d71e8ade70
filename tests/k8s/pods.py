"""A pod's process on this machine: the variables of its manifest, another user, a root that cannot be written."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from time import monotonic

import httpx2

from runcast_local.store import free_port
from tests.conftest import wait_until
from tests.k8s.manifests import Resource, Resources, containers, environment, pod
from tests.k8s.processes import stop_s


@dataclass(slots=True)
class Pod:
    """`ports`: of this machine, by the names that the container's ports have."""

    workload: Resource
    ports: dict[str, int]
    jail: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        """The process in the jail."""
        children = Path(f"/proc/{self.jail.pid}/task/{self.jail.pid}/children").read_text().split()
        return int(children[0])

    async def asks(self, probe: str) -> bool:
        """Whether a probe of its container would be content."""
        get = containers(self.workload)[0][probe]["httpGet"]
        async with httpx2.AsyncClient(timeout=containers(self.workload)[0][probe]["timeoutSeconds"]) as http:
            try:
                answer = await http.get(f"http://127.0.0.1:{self.ports[get['port']]}{get['path']}")
            except httpx2.TransportError:
                return False
            return answer.status_code == 200

    async def started(self) -> None:
        """Within what its startup probe allows."""
        probe = containers(self.workload)[0]["startupProbe"]
        allowed_s = probe["periodSeconds"] * probe["failureThreshold"]
        await wait_until(lambda: self.asks("startupProbe"), allowed_s, "the startup probe would have ended it")

    async def stopped(self) -> float:
        """Seconds from SIGTERM to its end. Fails where the kubelet would have sent SIGKILL."""
        spec = pod(self.workload)["spec"]
        left_s = spec["terminationGracePeriodSeconds"] - stop_s(self.workload)
        begun = monotonic()
        os.kill(self.pid, SIGTERM)
        await asyncio.wait_for(self.jail.wait(), left_s)
        return monotonic() - begun


@asynccontextmanager
async def running(
    workload: Resource, resources: Resources, writable: Path | None = None, **settings: object
) -> AsyncIterator[Pod]:
    """As its manifest says, but for the addresses and paths in `settings` and ports that are free. `writable`: the one
    folder that it may write to."""
    [container] = containers(workload)
    given = {name: value for name, value in environment(container, resources).items() if value is not None}
    ports = {port["name"]: free_port() for port in container["ports"]}
    given |= {"RUNCAST_PORT" if name == "http" else "RUNCAST_ADMIN_PORT": str(port) for name, port in ports.items()}
    given |= {f"RUNCAST_{name.upper()}": str(value) for name, value in {"host": "127.0.0.1", **settings}.items()}
    given |= {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(writable or "/none")}
    user, group = (str(pod(workload)["spec"]["securityContext"][key]) for key in ("runAsUser", "runAsGroup"))
    jail = ["--unshare-user", "--uid", user, "--gid", group, "--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev"]
    jail += ["--bind", str(writable), str(writable)] if writable is not None else []
    command = [sys.executable, *container["args"][1:]]
    process = await asyncio.create_subprocess_exec("bwrap", *jail, *command, env=given)
    made = Pod(workload, ports, process)
    try:
        yield made
    finally:
        with suppress(ProcessLookupError, FileNotFoundError, IndexError):  # it has ended already
            os.kill(made.pid, SIGKILL)
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
