"""Connections on which a cancellation is never lost."""

import asyncio

import pytest
from redis.asyncio import Redis

from runcast_events.redis import connect


@pytest.mark.parametrize("pipelined", [False, True])
async def test_a_cancellation_at_any_turn_of_a_command_is_kept(redis: Redis, pipelined: bool) -> None:
    """Also in the very turn in which the send ends; afterwards the client is as good as before."""

    async def command() -> None:
        if pipelined:
            await redis.pipeline(transaction=False).ping().ping().execute()
        else:
            await redis.ping()

    kept = 0
    for turns in [*range(16)] * 20:
        running = asyncio.create_task(command())
        for _ in range(turns):
            await asyncio.sleep(0)
        if running.cancel():
            with pytest.raises(asyncio.CancelledError):
                await running
            kept += 1
    assert kept > 100
    assert await redis.echo("mine") == b"mine"  # and not the reply to somebody else's command


async def test_what_is_done_while_being_cancelled_is_not_cancelled_again(redis: Redis) -> None:
    """A task that cleans up after its cancellation may talk to the store."""
    waiting = asyncio.Event()
    cleaned = []

    async def work() -> None:
        try:
            waiting.set()
            await asyncio.sleep(60)
        finally:
            cleaned.append(await redis.ping())

    running = asyncio.create_task(work())
    await waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cleaned == [True]


async def test_every_kind_of_connection_is_cancel_safe() -> None:
    """TLS and Unix sockets too."""
    for url in ("redis://127.0.0.1/0", "rediss://127.0.0.1/0", "unix:///nowhere"):
        client = connect(url, "test")
        assert "CancelSafe" in [kind.__name__ for kind in client.connection_pool.connection_class.__mro__]
        await client.aclose()
