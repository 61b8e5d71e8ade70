"""A script is run, whatever the store knows of it."""

from redis.asyncio import Redis
from redis.typing import EncodableT

from runcast_events.script import Script

SOURCE = "return {KEYS[1], ARGV[1]}"


async def test_a_store_is_sent_what_it_does_not_know_and_then_knows_it(redis: Redis) -> None:
    await redis.script_flush()
    script = Script(redis, SOURCE)
    assert await script(["k"], ["first"]) == [b"k", b"first"]
    assert await redis.execute_command(*script.command(["k"], ["again"])) == [b"k", b"again"]


class Forgetful:
    """A client of a store that is restarted before every command."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def execute_command(self, *command: EncodableT) -> object:
        await self._redis.script_flush()
        return await self._redis.execute_command(*command)


async def test_a_store_that_forgets_between_any_two_commands_runs_it(redis: Redis) -> None:
    assert await Script(Forgetful(redis), SOURCE)(["k"], [7]) == [b"k", b"7"]  # type: ignore[arg-type]
