"""The conversation of a session, as its tasks read it."""

import json
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from runcast_events.keys import SessionKeys
from runcast_events.script import Script

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
    script = Script.packaged(redis, "runcast_tasks", "conversation.lua")
    lines, live = await script(keys=[keys.messages, keys.queue], args=[MESSAGES, MESSAGE_BYTES])
    waiting = {name.decode() for name in live} | {task_id}
    documents = [json.loads(line) for line in lines]
    return [
        Message(document["role"], document["content"], document["task_id"])
        for document in documents
        if document["task_id"] not in waiting
    ]
