"""Forking a session: a new one whose conversation and board are those of another as of one of its events.

All of the new session is written by one control append, so it is there whole or not at all. What is read before is read
from a log that only grows: the state as it is now, less what the events after the given one brought.
"""

import json
import secrets
from collections import Counter
from dataclasses import dataclass

from redis.asyncio import Redis

from runcast_events.codec import Envelope, decode
from runcast_events.continuity import follows
from runcast_events.entry import Entry, decode_entry
from runcast_events.errors import Gone
from runcast_events.events import ForkedFrom, SessionCreated
from runcast_events.ids import START, EventId, check_session_id, new_session_id
from runcast_events.keys import Keyspace, SessionKeys
from runcast_events.log import EventLog, Write
from runcast_events.reader import LogReader
from runcast_tasks.board import Board
from runcast_tasks.errors import EventTrimmed, ForkDisturbed, NotFound, SessionDeleted, SessionExists, UnknownEvent

PAGE = 200
"""Events read at once, of up to 64 KiB each."""
LINES = 50
"""Messages read at once."""
MAX_MESSAGES = 10_000
MAX_BYTES = 16 * 1024 * 1024
"""Of a conversation at most this much is taken along, the newest: it is written by one command."""

_PLAN = frozenset({"plan_created", "phase_start", "phase_complete"})
_TODOS = frozenset({"todos_updated"})


@dataclass(frozen=True, slots=True)
class Fork:
    """`created`: false where the same fork was there already."""

    session_id: str
    origin: ForkedFrom
    created: bool


@dataclass(frozen=True, slots=True)
class _Look:
    """One atomic look at the session that is forked. `at`: the event to fork at; `end`: the log's last one. `board`:
    the plan and the todos of now, as JSON."""

    at: EventId
    end: EventId
    title: str | None
    board: dict[str, str]
    messages: int


class Forks:
    """Forks sessions of one tenant."""

    def __init__(self, redis: Redis, log: EventLog, reader: LogReader, keyspace: Keyspace, tenant: str) -> None:
        self._redis, self._log, self._reader, self._keyspace, self._tenant = redis, log, reader, keyspace, tenant

    async def fork(self, session_id: str, at: EventId | None = None, new_id: str | None = None) -> Fork:
        """Fork at an event, by default the newest. Idempotent by `new_id`. Raises InvalidId, NotFound, SessionDeleted,
        SessionExists, UnknownEvent, EventTrimmed, ForkDisturbed."""
        name = new_session_id() if new_id is None else check_session_id(new_id)
        if new_id is not None and (there := await self._there(name, session_id, at)) is not None:
            return there
        source = self._keyspace.session(self._tenant, session_id)
        look = await self._look(source, session_id, at)
        said, changed = await self._since(source, look)
        messages, left_out = await self._messages(source, look.messages, said)
        origin = ForkedFrom(session_id=session_id, event_id=str(look.at))
        if left_out:
            origin = ForkedFrom(session_id=session_id, event_id=str(look.at), messages_left_out=left_out)
        created = SessionCreated(forked_from=origin)
        if look.title is not None:
            created = created.model_copy(update={"title": look.title})
        board = {**look.board, **await self._board(source, look.at, changed)}
        fields = {"title": look.title, **board, "forked_from": origin.model_dump_json(exclude_unset=True)}
        writes = [Write("session", field, value) for field, value in fields.items() if value]
        writes += [Write("message", "", line) for line in messages]
        try:
            appended = await self._log.append_control(
                self._keyspace.session(self._tenant, name),
                secrets.token_hex(16),
                [Envelope(name).encode(created)],
                writes,
            )
        except Gone:
            raise SessionDeleted(name) from None
        if appended.duplicate and (there := await self._there(name, session_id, look.at)) is not None:
            return there  # another call with the same id was faster
        return Fork(name, origin, created=True)

    async def _there(self, name: str, session_id: str, at: EventId | None) -> Fork | None:
        """The fork, where it was made before."""
        keys = self._keyspace.session(self._tenant, name)
        pipe = self._redis.pipeline(transaction=True)
        pipe.hmget(keys.meta, ["epoch", "deleted"])
        pipe.hget(keys.session, "forked_from")
        (epoch, deleted), raw = await pipe.execute()
        if deleted is not None:
            raise SessionDeleted(name)
        if epoch is None:
            return None
        origin = None if raw is None else ForkedFrom.model_validate_json(raw)
        if origin is None or origin.session_id != session_id or (at is not None and origin.event_id != str(at)):
            raise SessionExists(name)
        return Fork(name, origin, created=False)

    async def _look(self, keys: SessionKeys, session_id: str, at: EventId | None) -> _Look:
        pipe = self._redis.pipeline(transaction=True)
        pipe.hmget(keys.meta, ["epoch", "n", "deleted", "trimmed"])
        pipe.hmget(keys.session, ["title", "plan", "todos"])
        pipe.llen(keys.messages)
        for first, last in (("-", "+"), ("-", "+") if at is None else (str(at), str(at))):
            pipe.execute_command("XRANGE", keys.events, first, last, "COUNT", 1)
        (epoch, n, deleted, trimmed), (title, plan, todos), messages, oldest, found = await pipe.execute()
        if deleted is not None:
            raise SessionDeleted(session_id)
        if epoch is None or n is None:
            raise NotFound("session", session_id)
        end = EventId(int(epoch), int(n))
        if at is not None and not found:
            gone = oldest and int(trimmed or 0) and START < at < decode_entry(oldest[0]).id
            raise (EventTrimmed if gone else UnknownEvent)(session_id, str(at))
        board = {name: raw.decode() if raw else "" for name, raw in (("plan", plan), ("todos", todos))}
        return _Look(at or end, end, None if title is None else title.decode(), board, messages)

    async def _since(self, keys: SessionKeys, look: _Look) -> tuple[Counter[tuple[str, str]], set[str]]:
        """What came after the event: messages by task and role, and which fields of the board were changed."""
        said: Counter[tuple[str, str]] = Counter()
        changed: set[str] = set()
        cursor = look.at
        while cursor < look.end:
            entries = (await self._reader.page(keys, cursor, PAGE)).entries
            if not entries:
                raise ForkDisturbed("the log lost its end while it was read")
            for entry in entries:
                if not follows(cursor, entry.id, entry.prev):
                    raise ForkDisturbed("the log was trimmed while it was read")
                cursor = entry.id
                if cursor > look.end:
                    break
                if entry.type == "message_added":
                    said[entry.task_id, str(decode(entry.payload)[0]["role"])] += 1
                elif entry.type in _PLAN:
                    changed.add("plan")
                elif entry.type in _TODOS:
                    changed.add("todos")
        return said, changed

    async def _messages(self, keys: SessionKeys, count: int, said: Counter[tuple[str, str]]) -> tuple[list[bytes], int]:
        """The conversation without what was said since, oldest first, and how many lines are left out of it: the list
        has a line for each message_added, written in the same step, and only grows."""
        kept: list[bytes] = []
        end, size = count, 0
        while end > 0:
            start = max(0, end - LINES)
            lines = await self._redis.lrange(keys.messages, start, end - 1)  # type: ignore[misc]
            if len(lines) != end - start:
                raise ForkDisturbed("the conversation was deleted while it was read")
            for line in reversed(lines):
                document = json.loads(line)
                which = (document["task_id"], document["role"])
                if said[which]:
                    said[which] -= 1
                elif len(kept) == MAX_MESSAGES or (kept and size + len(line) > MAX_BYTES):
                    return kept[::-1], end
                else:
                    kept.append(line)
                    size += len(line)
                end -= 1
        return kept[::-1], 0

    async def _board(self, keys: SessionKeys, at: EventId, changed: set[str]) -> dict[str, str]:
        """The changed fields as of the event, from the events up to it; empty where the log has none (any more)."""
        missing = set(changed)
        events: list[Entry] = []
        top = str(at)
        while missing:
            older = await self._redis.execute_command("XREVRANGE", keys.events, top, "-", "COUNT", PAGE)  # type: ignore[no-untyped-call]
            for entry in map(decode_entry, older):
                if (entry.type in _PLAN and "plan" in missing) or (entry.type in _TODOS and "todos" in missing):
                    events.append(entry)
                    missing -= {{"plan_created": "plan", "todos_updated": "todos"}.get(entry.type, "")}
            if len(older) < PAGE:
                break
            top = f"({decode_entry(older[-1]).id}"
        board, fields = Board(), dict.fromkeys(changed, "")
        for entry in reversed(events):
            fields |= {write.field: str(write.value) for write in board.writes(decode(entry.payload)[1])}
        return fields
