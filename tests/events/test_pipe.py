"""pipe.py: replies find who asked for them; whatever the connection does, nobody waits for ever or gets another's."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError, ResponseError  # noqa: A004 - redis-py shadows the builtins

from runcast_events.pipe import Pipe
from runcast_local.store import Store
from tests.proxy import running_proxy


async def test_replies_come_to_those_who_asked(redis_url: str) -> None:
    """Of many at once, each with several commands; an error stands in its own place."""
    pipe = Pipe(redis_url, "test", 5)

    async def ask(number: int) -> None:
        name = f"key-{number}"
        echoed, wrong, again = await pipe.execute([("ECHO", name), ("HGET", "x"), ("ECHO", b"\x00" * number)])
        assert (echoed, again) == (name.encode(), b"\x00" * number)
        assert isinstance(wrong, ResponseError)

    await asyncio.gather(*(ask(number) for number in range(200)))
    await pipe.aclose()


async def test_who_stops_waiting_takes_nobodys_reply(redis_url: str) -> None:
    """The reply that was meant for it is dropped, and the next one's is its own."""
    pipe = Pipe(redis_url, "test", 5)
    await pipe.execute([("PING",)])
    waiting = [asyncio.create_task(pipe.execute([("ECHO", number)])) for number in range(50)]
    await asyncio.sleep(0)
    for task in waiting[::2]:
        task.cancel()
    replies = await asyncio.gather(*waiting, return_exceptions=True)
    for number, reply in enumerate(replies):
        assert isinstance(reply, asyncio.CancelledError) if number % 2 == 0 else reply == [b"%d" % number]
    assert await pipe.execute([("ECHO", "after")]) == [b"after"]
    await pipe.aclose()


async def test_a_connection_that_is_cut_is_told_and_opened_again(redis: Redis, store: Store) -> None:
    """To everybody who waits on it; the next who asks has another."""
    number = redis.connection_pool.connection_kwargs["db"]
    async with running_proxy(store.port) as proxy:
        pipe = Pipe(f"{proxy.url}/{number}", "test", 5)
        assert await pipe.execute([("ECHO", "a")]) == [b"a"]
        proxy.silent = True
        waiting = [asyncio.create_task(pipe.execute([("ECHO", "b")])) for _ in range(3)]
        await asyncio.sleep(0.05)
        proxy.cut()
        for reply in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(reply, ConnectionError)
        proxy.silent = False
        assert await pipe.execute([("ECHO", "c")]) == [b"c"]
        await pipe.aclose()


async def test_a_store_that_hangs_is_not_waited_for(redis: Redis, store: Store) -> None:
    """And the connection is given up: its late replies would be taken for others'."""
    number = redis.connection_pool.connection_kwargs["db"]
    async with running_proxy(store.port) as proxy:
        pipe = Pipe(f"{proxy.url}/{number}", "test", 0.2)
        await pipe.execute([("PING",)])
        proxy.silent = True
        with pytest.raises((TimeoutError, RedisError)):
            await pipe.execute([("ECHO", "late")])
        proxy.silent = False
        assert await pipe.execute([("ECHO", "next")]) == [b"next"]
        await pipe.aclose()


async def test_a_store_that_is_away_is_an_error() -> None:
    """At once."""
    pipe = Pipe("redis://127.0.0.1:1", "test", 5)
    with pytest.raises((RedisError, OSError)):
        await asyncio.wait_for(pipe.execute([("PING",)]), 5)
    await pipe.aclose()


async def test_what_comes_in_pieces_is_put_together(redis: Redis, redis_url: str) -> None:
    """A reply of megabytes, between small ones."""
    await redis.set("large", b"x" * 3_000_000)
    pipe = Pipe(redis_url, "test", 5)
    small, large, after = await pipe.execute([("ECHO", "s"), ("GET", "large"), ("ECHO", "t")])
    assert (small, len(large), after) == (b"s", 3_000_000, b"t")
    await pipe.aclose()
    await redis.flushdb()
