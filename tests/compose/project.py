"""The compose project under test: deploy/docker-compose.yml as it is, on ports of its own. Every wait has an end."""

import json
import os
import resource
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "docker-compose.yml"
ENVIRONMENT = Path(__file__).with_name("stack.env")
NAME = "runcast-test"
"""The same in every run, so that a run removes what one that was killed has left."""
IMAGE = "runcast:compose-test"
SERVICES = {"store": 1, "api": 1, "worker": 2, "gateway": 2, "edge": 1}
"""With the number of their containers."""
BUILD_S, UP_S, HEALTHY_S, COMMAND_S = 900.0, 180.0, 90.0, 120.0


def compose_command() -> tuple[str, ...]:
    """`docker compose` where the plugin is installed, else docker-compose; RUNCAST_COMPOSE names another."""
    if chosen := os.environ.get("RUNCAST_COMPOSE"):
        return tuple(chosen.split())
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=COMMAND_S)
    if plugin.returncode == 0:
        return ("docker", "compose")
    found = shutil.which("docker-compose")
    assert found is not None, "neither `docker compose` nor docker-compose is installed"
    return (found,)


class Project:
    """`url`: its one origin. `password`: of its store. `environ`: what compose is run with."""

    def __init__(self) -> None:
        self._command = compose_command()
        self.password = secrets.token_hex(16)
        self.prometheus_port, port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RUNCAST_")},
            "AGENTS_FILE": str(Path(__file__).with_name("agents.toml")),
            "EDGE_PORT": str(port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "STORE_PASSWORD": self.password,
            # No more than this machine lets anybody have.
            "OPEN_FILES": str(min(100_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])),
        }

    @property
    def command(self) -> tuple[str, ...]:
        """Compose, for this project. Whoever runs the tests may have a deploy/.env: it is not read."""
        return (*self._command, "--env-file", str(ENVIRONMENT), "--file", str(FILE), "--project-name", NAME)

    def compose(self, *arguments: str, timeout_s: float = COMMAND_S) -> str:
        """What it printed."""
        return run(*self.command, *arguments, timeout_s=timeout_s, env=self.environ)

    @contextmanager
    def up(self) -> Iterator["Project"]:
        """Build, start, wait until all is healthy; at the end remove all of it, with its volumes."""
        self.down()
        try:
            began = monotonic()
            # Once: all three services are the same image.
            self.compose("build", "api", timeout_s=BUILD_S)
            built = monotonic()
            self.compose("up", "--detach", "--no-build", timeout_s=UP_S)
            for service in SERVICES:
                self.wait_healthy(service)
            print(f"\nbuilt in {built - began:.1f} s, up in {monotonic() - built:.1f} s, {size(IMAGE) / 1e6:.0f} MB")
            yield self
        finally:
            self.down()

    def down(self) -> None:
        self.compose("--profile", "observability", "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def remove_volumes(self, *names: str) -> None:
        """As if the disk were lost."""
        run("docker", "volume", "rm", *(f"{NAME}_{name}" for name in names))

    def containers(self, service: str) -> list[str]:
        """Ids of its containers, also of those that have ended, in the order of their numbers."""
        labels = (f"com.docker.compose.project={NAME}", f"com.docker.compose.service={service}")
        filters = [part for label in labels for part in ("--filter", f"label={label}")]
        form = '{{.Label "com.docker.compose.container-number"}} {{.ID}}'
        lines = run("docker", "ps", "--all", "--no-trunc", *filters, "--format", form).split("\n")
        return [line.split()[1] for line in sorted(lines) if line]

    def state(self, container: str) -> dict[str, Any]:
        """`State` of `docker inspect`."""
        found: dict[str, Any] = json.loads(run("docker", "inspect", "--format", "{{json .State}}", container))
        return found

    def address(self, service: str) -> str:
        """Of its first container, in the project's network."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run("docker", "inspect", "--format", form, self.containers(service)[0]).strip()

    def logs(self, service: str) -> str:
        return "".join(self._log(container) for container in self.containers(service))

    def _log(self, container: str) -> str:
        done = subprocess.run(["docker", "logs", container], capture_output=True, timeout=COMMAND_S, check=True)
        return (done.stdout + done.stderr).decode(errors="replace")

    def inside(self, container: str, script: str) -> str:
        """What a script says in it, by the container's own user."""
        return run("docker", "exec", container, "sh", "-c", script).strip()

    def crash(self, container: str) -> None:
        """SIGKILL from outside, as the kernel's. Docker then restarts it, which it does not after `docker kill`."""
        pid = str(self.state(container)["Pid"])
        killer = ("--pid", "host", "--user", "0", "--entrypoint", "bash", IMAGE, "-c", f"kill -9 {pid}")
        run("docker", "run", "--rm", "--network", "none", "--no-healthcheck", *killer)

    def kill(self, service: str) -> None:
        """All its containers; they stay dead until `start`."""
        run("docker", "kill", *self.containers(service))

    def start(self, service: str) -> None:
        run("docker", "start", *self.containers(service))

    def wait_healthy(self, service: str, since: Mapping[str, str] | None = None, timeout_s: float = HEALTHY_S) -> None:
        """Until all its containers are; `since`: when they were started before, and must have been started anew."""
        deadline, before = monotonic() + timeout_s, since or {}
        while True:
            found = {container: self.state(container) for container in self.containers(service)}
            healthy = [
                container
                for container, state in found.items()
                if state["Health"]["Status"] == "healthy" and state["StartedAt"] != before.get(container)
            ]
            if len(healthy) == SERVICES[service]:
                return
            assert monotonic() < deadline, (
                f"{service} is not healthy after {timeout_s:g} s: {found}\n{self.logs(service)}"
            )
            sleep(0.1)

    def started(self, *containers: str) -> dict[str, str]:
        return {container: self.state(container)["StartedAt"] for container in containers}


def run(*command: str, timeout_s: float = COMMAND_S, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False, env=env, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def size(image: str) -> int:
    return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
