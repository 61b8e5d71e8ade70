"""The conversation of a session, as its tasks read it."""

import json
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from runcast_events.keys import SessionKeys

MESSAGES = 200
MESSAGE_BYTES = 1024 * 1024
"""Of a conversation at most this many messages and bytes are read, the newest."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["user", "assistant"]
    content: str
    task_id: str


async def read_conversation(redis: Redis, keys: SessionKeys, task_id: str) -> list[Message]:
    """What was said in the session's tasks that have ended, oldest first. A task that waits behind `task_id` has put
    its message here already, but it is not yet its turn."""
    pipe = redis.pipeline(transaction=True)
    pipe.lrange(keys.messages, -MESSAGES, -1)
    pipe.lrange(keys.queue, 0, -1)
    raw, live = await pipe.execute()
    waiting = {name.decode() for name in live} | {task_id}
    messages: list[Message] = []
    size = 0
    for line in reversed(raw):
        document = json.loads(line)
        if document["task_id"] in waiting:
            continue
        size += len(line)
        if messages and size > MESSAGE_BYTES:
            break
        messages.append(Message(document["role"], document["content"], document["task_id"]))
    return messages[::-1]
