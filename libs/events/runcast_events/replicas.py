"""Replica acknowledgement: what somebody is promised is on so many replicas first.

WAIT counts the replicas that have everything up to the last write of its own connection, and says so at once where that
connection wrote nothing. So the script and WAIT go out together, on one connection; and between them a publication that
nobody hears, which replicas get too: with it the count is true also when the script found its work done, on this
connection or another. A failover in between breaks the connection, and all of it is sent again to the new master.
Why, and what if the count is not reached: docs/decisions/0017-a-promise-is-on-a-replica-first.md.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError
from redis.typing import EncodableT

from runcast_events.script import Script

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""With a lease of 15 s an attempt has at least seven between its last renewal and its self-stop."""


@dataclass(slots=True)
class Replicas:
    """`count`: how many must have it; 0 asks nobody. `wait_s`: how long one call waits for them, less than the client's
    timeout. `patience_s`: how long a writer whom nobody waits for asks again. `heard`: is told of each call whether the
    count was `reached` or `missed`."""

    redis: Redis
    count: int = 0
    wait_s: float = 1.0
    patience_s: float = PATIENCE_S
    heard: Callable[[str], None] = lambda _: None
    _behind: bool = field(default=False, init=False)

    @property
    def patience_left_s(self) -> float:
        """Once the patience was in vain nobody waits any more, until the replicas are there again: else every step of
        every task would stand still for that long."""
        return 0.0 if self._behind else self.patience_s

    def give_up(self) -> None:
        """The patience was in vain."""
        self._behind = True

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[EncodableT]) -> tuple[Any, bool]:
        """The script's answer, and whether enough replicas have what it wrote or found. Raises what the script does."""
        if not self.count:
            return await script(keys=keys, args=args), True
        try:
            answer, reached = await self._send(script, keys, args)
        except NoScriptError:
            answer, reached = await self._send(script, keys, args, whole=True)
        if reached >= self.count:
            self.heard("reached")
            self._behind = False
            return answer, True
        self.heard("missed")
        logger.warning("of %d replicas %d have what was written", self.count, reached, extra={"log": keys[0]})
        return answer, False

    async def _send(
        self, script: Script, keys: Sequence[str], args: Sequence[EncodableT], *, whole: bool = False
    ) -> tuple[Any, int]:
        wait_s = min(self.wait_s, 0.05) if self._behind else self.wait_s
        pipe = self.redis.pipeline(transaction=False)  # WAIT does not wait in a transaction
        pipe.execute_command(*script.command(keys, args, whole=whole))
        pipe.publish(keys[1], b"")  # the name of a key: in the same slot, and no channel of ours
        pipe.execute_command("WAIT", self.count, int(wait_s * 1000))
        # Errors come as replies: raised by the pipeline they would quote the whole command.
        for reply in (replies := await pipe.execute(raise_on_error=False)):
            if isinstance(reply, Exception):
                raise reply
        return replies[0], int(replies[2])
