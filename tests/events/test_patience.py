"""Reads that wait for the store."""

import pytest
from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import ResponseError

from runcast_events.patience import patiently


async def test_a_store_that_is_away_is_waited_for() -> None:
    """An outage at the start of an attempt does not end its task."""
    answers = [ConnectionFailed("refused"), TimeoutError(), b"value"]

    async def read() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await patiently(read) == b"value"


async def test_a_refusal_is_not_waited_out() -> None:
    """A wrong type stays wrong."""

    async def read() -> None:
        raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")

    with pytest.raises(ResponseError):
        await patiently(read)
