"""An event log whose answers get lost."""

from typing import Any

from redis.exceptions import ConnectionError as StoreError

from runcast_events.answer import Appended
from runcast_events.log import EventLog


class UnreliableLog(EventLog):
    """Loses the replies of the next `lost` appends: they are written, and the writer hears of a broken connection.
    Of reinstalls it first loses the call, then the reply."""

    lost = 0
    calls = 0

    async def reinstall(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1
        if self.calls % 3 == 1:
            raise StoreError("the call was lost")
        await super().reinstall(*args, **kwargs)
        if self.calls % 3 == 2:
            raise StoreError("the reply was lost")

    async def append(self, *args: Any, **kwargs: Any) -> Appended:
        answer = await super().append(*args, **kwargs)
        if self.lost:
            self.lost -= 1
            raise StoreError("the reply was lost")
        return answer
