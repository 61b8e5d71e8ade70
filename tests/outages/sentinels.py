"""A replicated store as a deployment has it: a master, replicas, and three Sentinels, all on loopback."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from runcast_events.redis import connect
from runcast_local.store import Program, Store, find_program, free_port
from tests.conftest import wait_until

SERVICE = "main"
DOWN_AFTER_MS = 1000


@dataclass
class Sentinel:
    """One that can be killed."""

    port: int
    process: subprocess.Popen[bytes]


@dataclass
class Replicated:
    """`stores`: all nodes; who is the master, the Sentinels say."""

    stores: list[Store]
    sentinels: list[Sentinel]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    async def master(self) -> Store:
        """The node that the Sentinels agree on. Fails where they do not, in time."""
        found: set[bytes] = set()

        async def agreed() -> bool:
            found.clear()
            for sentinel in self.sentinels:
                found.add((await told(sentinel.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE))[1])
            return len(found) == 1

        await wait_until(agreed, 30, "the Sentinels do not agree")
        return next(store for store in self.stores if store.port == int(next(iter(found))))

    async def failed_over(self, old: Store, timeout_s: float = 30) -> Store:
        """Wait until another node than `old` is the master."""

        async def moved() -> bool:
            return await self.master() is not old

        await wait_until(moved, timeout_s, "the Sentinels promoted no replica")
        return await self.master()

    async def replicates(self, store: Store, timeout_s: float = 40) -> None:
        """Wait until the node is a replica that has all of its master's data."""

        async def attached() -> bool:
            try:
                replication = await info(store.port)
            except (RedisError, OSError):
                return False
            return replication["role"] == "slave" and replication["master_link_status"] == "up"

        await wait_until(attached, timeout_s, f"the node {store.port} does not replicate")


async def told(port: int, *command: str) -> list[bytes]:
    client = connect(f"redis://127.0.0.1:{port}", "test", retries=0)
    try:
        answer: list[bytes] = await client.execute_command(*command)  # type: ignore[no-untyped-call]
        return answer
    finally:
        await client.aclose()


async def info(port: int, section: str = "replication") -> dict[str, str]:
    client = connect(f"redis://127.0.0.1:{port}", "test", retries=0)
    try:
        found: dict[str, str] = await client.info(section)
        return found
    finally:
        await client.aclose()


async def configure(store: Store, **options: object) -> None:
    client: Redis = connect(store.url, "test")
    for name, value in options.items():
        await client.config_set(name.replace("_", "-"), str(value))
    await client.aclose()


@asynccontextmanager
async def replicated(folder: Path, replicas: int = 1, options: Sequence[str] = ()) -> AsyncIterator[Replicated]:
    """`options`: of every node. Each attached replica has all data before this yields."""
    program = find_program()
    options = ("--repl-diskless-sync-delay", "0", "--repl-diskless-load", "disabled", *options)
    master = Store(program, folder / "node0", options=tuple(options))
    behind = ("--replicaof", f"127.0.0.1 {master.port}")
    nodes = [Store(program, folder / f"node{i + 1}", options=(*options, *behind)) for i in range(replicas)]
    whole = Replicated([master, *nodes], [])
    try:
        for store in whole.stores:
            await asyncio.to_thread(store.start)
        for store in nodes:
            await whole.replicates(store)
        whole.sentinels = [_sentinel(program, folder / f"sentinel{i}", master.port) for i in range(3)]

        async def complete() -> bool:
            for sentinel in whole.sentinels:
                try:
                    state = await told(sentinel.port, "SENTINEL", "MASTER", SERVICE)
                except (RedisError, OSError):
                    return False
                facts = dict(zip(state[::2], state[1::2], strict=True))
                if (int(facts[b"num-slaves"]), int(facts[b"num-other-sentinels"])) != (replicas, 2):
                    return False
            return True

        await wait_until(complete, 30, "the Sentinels do not know each other")
        yield whole
    finally:
        for sentinel in whole.sentinels:
            sentinel.process.kill()
            sentinel.process.wait()
        for store in whole.stores:
            if store.process is not None:
                store.process.send_signal(signal.SIGCONT)
            store.kill()


def _sentinel(program: Program, folder: Path, master_port: int) -> Sentinel:
    folder.mkdir(parents=True)
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {SERVICE} 10000\n"
    )
    with (folder / "sentinel.log").open("ab") as log:
        command = [str(program.path), str(config), "--sentinel"]
        return Sentinel(port, subprocess.Popen(command, stdout=log, stderr=log, process_group=0))
