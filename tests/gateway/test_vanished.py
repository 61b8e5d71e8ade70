"""Clients whose machines vanish without a word are found; those that read, however slowly, are left alone."""

import asyncio
import ctypes
import socket
import struct
import sys

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect

from runcast_events.log import EventLog
from runcast_gateway.listener import listen
from runcast_gateway.streams import connections
from tests.attempts import Attempt, claim, submit
from tests.conftest import wait_until
from tests.crowd.gateways import gateway_process
from tests.crowd.line import open_socket, request
from tests.gateway.running import Gateway, running_gateway

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a socket tells and drops is Linux'")

SO_ATTACH_FILTER = 26
RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A program of one instruction, `ret 0`: https://docs.kernel.org/networking/filter.html"""
QUICK = {"heartbeat_s": 0.2, "send_timeout_s": 1}


def vanish(endpoint: socket.socket) -> None:
    """From now on its kernel throws away what comes, and so acknowledges nothing: as if the cable were cut."""
    program = ctypes.create_string_buffer(RETURN_NOTHING, len(RETURN_NOTHING))
    endpoint.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


async def are(gateway: Gateway, count: int) -> bool:
    return (await gateway.stats())["connections"] == count


async def found_while_written_to(gateway: Gateway, log: EventLog, attempt: Attempt) -> None:
    """What waits for the client grows, and is not taken for a sign of life."""

    async def gone() -> bool:
        await attempt.append(log, attempt.output("x"))
        return await are(gateway, 0)

    await wait_until(gone, message="nobody found that it is gone")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway looks at once."""
    monkeypatch.setattr(connections, "LOOK_EVERY_S", 0.1)


async def test_a_client_whose_machine_vanishes_is_found_while_its_stream_is_live(redis: Redis, redis_url: str) -> None:
    """By its heartbeats, of which no two fill a socket; the one beside it stays."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url, **QUICK) as gateway:
        port = int(gateway.base.rpartition(":")[2])
        both = [await open_socket(port) for _ in range(2)]
        for endpoint in both:
            await asyncio.get_running_loop().sock_sendall(endpoint, request("s1", ""))
        await wait_until(lambda: are(gateway, 2))
        vanish(both[0])
        await wait_until(lambda: are(gateway, 1), message="nobody found that it is gone")
        assert both[1].recv(65536)
        await asyncio.sleep(2 * QUICK["send_timeout_s"])
        assert await are(gateway, 1)
        for endpoint in both:
            endpoint.close()


async def test_a_client_that_vanishes_is_found_although_events_are_written_to_it(redis: Redis, redis_url: str) -> None:
    """Before they fill its socket."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    async with running_gateway(redis_url, **QUICK) as gateway:
        endpoint = await open_socket(int(gateway.base.rpartition(":")[2]))
        await asyncio.get_running_loop().sock_sendall(endpoint, request("s1", ""))
        await wait_until(lambda: are(gateway, 1))
        vanish(endpoint)
        await found_while_written_to(gateway, log, attempt)
        endpoint.close()


async def test_a_websocket_whose_machine_vanishes_is_found(redis: Redis, redis_url: str) -> None:
    """By its pings, although events are written to it meanwhile."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    async with running_gateway(redis_url, **QUICK) as gateway:
        url = gateway.base.replace("http", "ws") + "/stream/ws?session_id=s1"
        async with connect(url, ping_interval=None, proxy=None, close_timeout=0.1) as client:
            await client.recv()
            await wait_until(lambda: are(gateway, 1))
            vanish(client.transport.get_extra_info("socket"))
            await found_while_written_to(gateway, log, attempt)


def test_the_kernel_counts_no_time_of_its_own() -> None:
    """docs/decisions/0023."""
    with listen("127.0.0.1", 0) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@pytest.mark.full
async def test_a_client_that_reads_a_little_now_and_then_is_left_alone(redis: Redis, redis_url: str) -> None:
    """Its window is shut nearly all the time, for many times the send timeout; what of a buffer the kernel has begun to
    send, some 60 KB, is not taken in that time. Then it reads on."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), *(attempt.output("x" * 30_000) for _ in range(40)))
    loop = asyncio.get_running_loop()
    async with gateway_process(redis_url, send_timeout_s=4) as gateway:
        endpoint = await open_socket(gateway.port, slow=True)
        await loop.sock_sendall(endpoint, request("s1", ""))
        shown, until = b"", loop.time() + 25
        while loop.time() < until:
            shown += await loop.sock_recv(endpoint, 65536)
            await asyncio.sleep(2)
        assert len(shown) < 100_000, "it was not slow"
        await attempt.append(log, attempt.complete())
        while b"event: task_complete" not in shown:
            data = await asyncio.wait_for(loop.sock_recv(endpoint, 65536), 10)
            assert data, "the stream was cut"
            shown += data
        endpoint.close()
