"""Pages over an index of the queue store, newest first, under an opaque cursor."""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Query

from runcast_service.problem import Problem
from runcast_tasks.queue import Queue

T = TypeVar("T")

SLICE = 20
"""Members read at once."""
MAX_SLICES = 60
"""Where more members than this have expired, a page ends early; its cursor goes on."""

_CURSOR = re.compile(r"([0-9]{1,15}):([A-Za-z0-9_.-]{1,80})")

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]

Member = tuple[str, int]
"""An id and the ms of its place in the index."""


def encode_cursor(member: Member) -> str:
    return base64.urlsafe_b64encode(f"{member[1]}:{member[0]}".encode()).decode().rstrip("=")


def decode_cursor(text: str) -> Member:
    """Raises Problem."""
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode("ascii")
        match = _CURSOR.fullmatch(plain)
    except (binascii.Error, ValueError):
        match = None
    if match is None:
        raise Problem(422, "invalid_cursor", "the cursor is not one that a page's next_cursor gave")
    return match[2], int(match[1])


async def newest(
    queue: Queue, index: str, limit: int, cursor: str | None, read: Callable[[list[Member]], Awaitable[list[T | None]]]
) -> tuple[list[T], str | None]:
    """Up to `limit` of what `read` makes of the members, and the cursor of the next page where there is more.

    `read` gives None for a member that has expired; such members leave the index. Raises Problem.
    """
    last = None if cursor is None else decode_cursor(cursor)
    items: list[T] = []
    for _ in range(MAX_SLICES):
        asked = min(SLICE, limit - len(items))
        members = await queue.newest(index, asked, _position(last))
        found = await read(members)
        await queue.drop(index, [name for (name, _), item in zip(members, found, strict=True) if item is None])
        items += [item for item in found if item is not None]
        if len(members) < asked:
            return items, None
        last = members[-1]
        if len(items) == limit:
            break
    assert last is not None
    more = await queue.newest(index, 1, _position(last))
    return items, encode_cursor(last) if more else None


def _position(member: Member | None) -> tuple[int, str] | None:
    return None if member is None else (member[1], member[0])
