"""A store in a container, for a run of the tests against another server: RUNCAST_TEST_IMAGE=redis:7 make test."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

PULL_S = 20


@dataclass(frozen=True)
class ContainerStore:
    """What tests need of a store that they neither stop nor fill."""

    port: int
    image: str


@contextmanager
def running_container(image: str, *options: str) -> Iterator[ContainerStore]:
    """The image's own server program with `options`. The image is local, or comes within 20 s; else this raises."""
    local = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0
    if not local:
        subprocess.run(["docker", "pull", "--quiet", image], timeout=PULL_S, check=True)
    program = "valkey-server" if "valkey" in image else "redis-server"
    command = [program, "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", *options]
    testcontainers_config.ryuk_disabled = True  # its reaper would be one more image to pull; we end what we start
    ready = LogMessageWaitStrategy("Ready to accept connections").with_startup_timeout(PULL_S)
    container = DockerContainer(image).with_command(command).with_exposed_ports(6379).waiting_for(ready)
    with container:
        yield ContainerStore(int(container.get_exposed_port(6379)), image)
