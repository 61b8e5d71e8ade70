"""A Lua script of ours that a store runs.

Sent by its digest, and whole where the store does not know that. redis-py's own `Script` loads it then and sends the
digest again: a store that is restarted between the two knows it no more, and the caller gets an error that looks like
one for good.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError
from redis.typing import EncodableT


class Script:
    """Call it with keys and arguments: the script's answer. Raises what a command does, but never NoScriptError."""

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis, self._source = redis, source
        self._digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def packaged(cls, redis: Redis, package: str, name: str) -> "Script":
        """The file `name` that lies in a Python package."""
        return cls(redis, _source(package, name))

    async def __call__(self, keys: Sequence[str], args: Sequence[EncodableT]) -> Any:
        try:
            return await self._redis.execute_command(*self.command(keys, args))  # type: ignore[no-untyped-call]
        except NoScriptError:
            return await self._redis.execute_command(*self.command(keys, args, whole=True))  # type: ignore[no-untyped-call]

    def command(
        self, keys: Sequence[str], args: Sequence[EncodableT], *, whole: bool = False
    ) -> tuple[EncodableT, ...]:
        """EVALSHA, or EVAL with the source, which the store knows from then on."""
        head = ("EVAL", self._source) if whole else ("EVALSHA", self._digest)
        return (*head, len(keys), *keys, *args)


@cache
def _source(package: str, name: str) -> str:
    """Read once: each attempt makes scripts of its own."""
    return files(package).joinpath(name).read_text()
