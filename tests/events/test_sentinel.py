"""sentinel.py: which answer counts, and that no connection stays with a node that is not the master any more.

The Sentinels here say what the test wants; real ones fail over in tests/outages/test_failover.py."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError  # noqa: A004 - redis-py shadows the builtin

from runcast_events.redis import bare_connection, connect
from runcast_events.subscriber import Subscriber
from runcast_local.store import Store, find_program
from tests.conftest import wait_until


@dataclass
class Sentinel:
    """`silent`: it takes the question and never answers. `promoted`: the node that is on its way to be the master, for
    the one that leads the failover."""

    port: int = 0
    epoch: int = 0
    flags: str = "master"
    master: int = 0
    promoted: int = 0
    silent: bool = False
    asked: int = 0
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while line := await reader.readline():
            if line not in (b"GET-MASTER-ADDR-BY-NAME\r\n", b"MASTER\r\n"):
                continue
            self.asked += 1
            if self.silent:
                continue
            facts = {"name": "main", "ip": "127.0.0.1", "port": self.master, "flags": self.flags}
            words = [str(word) for pair in (facts | {"config-epoch": self.epoch}).items() for word in pair]
            if line.startswith(b"GET"):
                words = ["127.0.0.1", str(self.promoted or self.master)]
            writer.write(f"*{len(words)}\r\n".encode() + b"".join(f"${len(w)}\r\n{w}\r\n".encode() for w in words))
        writer.transport.abort()


@pytest.fixture
async def sentinels() -> AsyncIterator[list[Sentinel]]:
    """Three that agree."""
    async with AsyncExitStack() as stack:
        three = [Sentinel() for _ in range(3)]
        for each in three:
            server = await stack.enter_async_context(await asyncio.start_server(each.serve, "127.0.0.1", 0))
            each.port = server.sockets[0].getsockname()[1]
        yield three
        for each in three:
            for writer in each._writers:
                writer.transport.abort()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two masters: which one is meant, the Sentinels say."""
    with Store(find_program(), tmp_path / "a") as a, Store(find_program(), tmp_path / "b") as b:
        yield a, b
        for store in (a, b):
            store.kill()  # one that ends waits for its replica


def promote(sentinels: list[Sentinel], store: Store, epoch: int) -> None:
    for each in sentinels:
        each.master, each.epoch = store.port, epoch


def url_of(sentinels: list[Sentinel]) -> str:
    return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in sentinels)}/main"


async def port_of(client: Redis) -> int:
    return int((await client.info("server"))["tcp_port"])


async def reaches(client: Redis, store: Store) -> None:
    """Wait until a new connection is one to this node: on a busy machine a Sentinel may be too late to be heard."""

    async def there() -> bool:
        await client.connection_pool.disconnect()
        try:
            return await port_of(client) == store.port
        except ConnectionError:
            return False

    await wait_until(there, message=f"no connection to {store.port}")


async def refused(client: Redis, why: str) -> None:
    """Wait until a new connection is refused for this reason, and to nobody but for some reason."""

    async def told() -> bool:
        await client.connection_pool.disconnect()
        with pytest.raises(ConnectionError) as error:
            await client.ping()
        return why in str(error.value)

    await wait_until(told, message=f"not refused for: {why}")


async def test_the_newest_configuration_counts(sentinels: list[Sentinel], nodes: tuple[Store, Store]) -> None:
    """Also when two of three do not know it yet, or believe that the master of the same epoch is down."""
    promote(sentinels, nodes[0], 1)
    sentinels[1].master, sentinels[1].epoch = nodes[1].port, 2
    sentinels[2].flags = "master,s_down,o_down"
    client = connect(url_of(sentinels), "test")
    await reaches(client, nodes[1])
    await client.aclose()
    sentinels[1].master, sentinels[1].epoch = nodes[0].port, 1
    client = connect(url_of(sentinels), "test")
    await reaches(client, nodes[0])
    await client.aclose()


async def test_who_leads_a_failover_names_the_promoted_node(
    sentinels: list[Sentinel], nodes: tuple[Store, Store]
) -> None:
    """Before it has told the others, and whatever the old master does meanwhile: also when it is back already."""
    promote(sentinels, nodes[0], 1)
    sentinels[0].promoted, sentinels[0].epoch = nodes[1].port, 2
    for flags in ("master,s_down,o_down,failover_in_progress", "master,failover_in_progress"):
        sentinels[0].flags = flags
        client = connect(url_of(sentinels), "test")
        await reaches(client, nodes[1])
        await client.aclose()


async def test_what_was_known_is_not_unlearned_from_sentinels_that_are_behind(
    sentinels: list[Sentinel], nodes: tuple[Store, Store]
) -> None:
    """The one that knows of the failover is slow, just when the old master is back. If all of them were set up anew,
    they are believed."""
    promote(sentinels, nodes[0], 1)
    sentinels[0].master, sentinels[0].epoch = nodes[1].port, 2
    client = connect(url_of(sentinels), "test", retries=0)
    await reaches(client, nodes[1])
    sentinels[0].silent = True
    await refused(client, "the others are behind")
    sentinels[0].silent = False
    await reaches(client, nodes[1])
    promote(sentinels, nodes[0], 0)
    await reaches(client, nodes[0])
    await client.aclose()


async def test_sentinels_that_are_silent_or_gone_hold_nobody_up(
    sentinels: list[Sentinel], nodes: tuple[Store, Store]
) -> None:
    """They are asked at once, and 0.3 s is what they get."""
    promote(sentinels, nodes[0], 1)
    sentinels[0].silent = True
    url = url_of(sentinels).replace(f"{sentinels[1].port}", "1")
    client = connect(url, "test")
    asked_at = monotonic()
    assert await client.ping()
    assert monotonic() - asked_at < 4
    await client.aclose()


async def test_without_a_master_that_is_up_everybody_is_told_why(sentinels: list[Sentinel]) -> None:
    """In bounded time, and as an error that passes."""
    for each in sentinels:
        each.flags, each.master = "master,o_down", 1
    client = connect(url_of(sentinels), "test", retries=0)
    await refused(client, "know no master: its master 127.0.0.1:1 is down")
    for each in sentinels:
        each.epoch = "new"  # type: ignore[assignment]
    await refused(client, "none of a Sentinel")
    for each in sentinels:
        each.silent = True
    await refused(client, f"{sentinels[0].port}: no answer in time")
    await client.aclose()


async def test_a_replica_is_not_taken_for_a_master(sentinels: list[Sentinel], nodes: tuple[Store, Store]) -> None:
    """The Sentinels may be behind: the node itself must say so."""
    promote(sentinels, nodes[0], 1)
    plain = connect(nodes[0].url, "test")
    await plain.replicaof("127.0.0.1", str(nodes[1].port))
    client = connect(url_of(sentinels), "test", retries=0)
    await refused(client, "is a slave")
    promote(sentinels, nodes[1], 2)
    await reaches(client, nodes[1])
    await client.aclose()
    await plain.aclose()


async def test_a_demoted_master_is_left_although_it_answers(
    sentinels: list[Sentinel], nodes: tuple[Store, Store]
) -> None:
    """Nothing fails there: neither a read nor a write would have told."""
    promote(sentinels, nodes[0], 1)
    client = connect(url_of(sentinels), "test")
    await asyncio.gather(*(client.ping() for _ in range(5)))
    promote(sentinels, nodes[1], 2)

    async def moved() -> bool:
        return await port_of(client) == nodes[1].port

    await wait_until(moved, 5)
    ports = await asyncio.gather(*(port_of(client) for _ in range(10)))
    assert set(ports) == {nodes[1].port}
    await client.aclose()


async def test_an_answer_readonly_closes_its_connection(sentinels: list[Sentinel], nodes: tuple[Store, Store]) -> None:
    """Demoted a moment ago: the retry of the same call finds the new master. A script too, and in a pipeline."""
    promote(sentinels, nodes[0], 1)
    client, plain = connect(url_of(sentinels), "test"), connect(nodes[0].url, "test")
    await client.ping()
    await plain.replicaof("127.0.0.1", str(nodes[1].port))
    promote(sentinels, nodes[1], 2)
    assert await client.eval("return redis.call('SET', KEYS[1], '1')", 1, "k") == b"OK"  # type: ignore[misc]
    assert await port_of(client) == nodes[1].port
    await client.aclose()
    await plain.aclose()


async def test_a_command_that_hangs_goes_over_to_the_new_master(
    sentinels: list[Sentinel], nodes: tuple[Store, Store]
) -> None:
    """Long before its own timeout."""
    promote(sentinels, nodes[0], 1)
    client = connect(url_of(sentinels), "test", command_timeout_s=30)
    await client.ping()
    assert nodes[0].process is not None
    nodes[0].process.send_signal(signal.SIGSTOP)
    try:
        asked_at = monotonic()
        hangs = asyncio.create_task(port_of(client))
        promote(sentinels, nodes[1], 2)
        assert await hangs == nodes[1].port
        assert monotonic() - asked_at < 5
    finally:
        nodes[0].process.send_signal(signal.SIGCONT)
    await client.aclose()


async def test_a_subscriber_goes_over_to_the_new_master(sentinels: list[Sentinel], nodes: tuple[Store, Store]) -> None:
    """It only listens: without the watch it would hear nothing of the change."""
    promote(sentinels, nodes[0], 1)
    heard: list[bytes] = []
    joined: list[str] = []
    subscriber = Subscriber(url_of(sentinels), "test", lambda _, data: heard.append(data), joined.append)
    subscriber.subscribe("news")
    running = asyncio.create_task(subscriber.run())
    await wait_until(lambda: len(joined) == 1)
    promote(sentinels, nodes[1], 2)
    await wait_until(lambda: len(joined) == 2)
    plain = connect(nodes[1].url, "test")
    await plain.publish("news", "hello")
    await wait_until(lambda: heard == [b"hello"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await plain.aclose()


async def test_nothing_is_believed_that_nobody_watches(sentinels: list[Sentinel], nodes: tuple[Store, Store]) -> None:
    """A process whose connections broke asks before it comes back: the old address may answer, and call itself master.
    And who is closed asks no more."""
    promote(sentinels, nodes[0], 1)
    client = connect(url_of(sentinels), "test")
    await client.ping()
    await client.connection_pool.disconnect()
    promote(sentinels, nodes[1], 2)
    assert await port_of(client) == nodes[1].port
    connection = bare_connection(url_of(sentinels), "test")
    await connection.connect()  # type: ignore[no-untyped-call]
    await connection.disconnect()
    await client.aclose()
    asked = sum(each.asked for each in sentinels)
    later = monotonic() + 1.5
    await wait_until(lambda: monotonic() > later)
    assert sum(each.asked for each in sentinels) == asked
