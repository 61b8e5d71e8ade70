"""Reading logs: pages of the past, and what a channel missed. Explicit ids only, never `$`; every reply is bounded."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from runcast_events.continuity import Gap, follows, predecessor
from runcast_events.entry import Entry, UndecodableEntry, decode_entry
from runcast_events.ids import START, EventId
from runcast_events.keys import SessionKeys
from runcast_events.pipe import Command, Pipe
from runcast_events.redis import COMMAND_TIMEOUT_S, passes

logger = logging.getLogger(__name__)

READS_AT_ONCE = 4
"""Pages that one process reads at the same time: the store reads one after the other anyway, and what is live waits for
the event loop behind those that have come."""
FIRST_PAGE = 16
"""Small, so that the first byte leaves early, and because nobody knows yet how large the events are."""
PAGE = 1000
PAGE_BYTES = 4 * 1024 * 1024
LARGE_PAGE = PAGE_BYTES // (68 * 1024)
"""So many entries fit PAGE_BYTES even if all are as large as an event may be."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a log ends. `exists`: the store has it. `total_bytes`: ever appended. `deleted`: id of session_deleted."""

    id: EventId
    total_bytes: int
    exists: bool
    deleted: EventId | None


@dataclass(frozen=True, slots=True)
class Page:
    """Entries after a cursor, and the tail that was read just before them: `tail` may be older than the last entry,
    never newer than the log was when the entries were read."""

    entries: list[Entry]
    tail: Tail


@dataclass(frozen=True, slots=True)
class RawPage:
    """A page as the store sent it, each entry `[id, [field, value, ...]]`: for who passes it on."""

    raws: list[list[Any]]
    tail: Tail

    @property
    def bytes(self) -> int:
        """What its entries come to, told by the running totals of the first and the last; payloads and some more."""
        if not self.raws:
            return 0
        (_, first), (_, last) = self.raws[0], self.raws[-1]
        return int(last[9]) - int(first[9]) + len(first[-1])

    @property
    def missing_bytes(self) -> int:
        """How much of the log comes after this page, as of the tail."""
        return max(0, self.tail.total_bytes - int(self.raws[-1][1][9])) if self.raws else self.tail.total_bytes

    def continues(self, cursor: EventId) -> bool:
        """True if these entries are exactly the next ones after `cursor`, and of one epoch. (A page that opens another
        epoch on the way is whole as well, and yet False: it has to be looked at entry by entry.)"""
        first, last = self.raws[0], EventId.decode(self.raws[-1][0])
        start = decode_entry(first)
        # The store keeps ids in order, so that as many as lie between the two are all of them.
        same = start.id.epoch == last.epoch and last.n - start.id.n == len(self.raws) - 1
        return same and follows(cursor, start.id, start.prev)


class LogReader:
    """Reads the logs of one store."""

    def __init__(self, store: Redis | Pipe) -> None:
        self._execute = store.execute if isinstance(store, Pipe) else partial(_pipelined, store)
        # First come, first served: the pool itself gives a freed connection to whoever asks next, so that in a storm
        # of replays some wait for seconds, and the hub's repairs with them.
        self._turn = asyncio.Semaphore(READS_AT_ONCE)

    async def page(self, keys: SessionKeys, after: EventId, count: int) -> Page:
        """Up to `count` entries after the cursor `after`, oldest first."""
        page = await self.raw_page(keys, after, count)
        return Page([decode_entry(raw) for raw in page.raws], page.tail)

    async def raw_page(self, keys: SessionKeys, after: EventId, count: int) -> RawPage:
        """As `page`, undecoded."""
        async with self._my_turn():
            meta, entries = _or_raise(
                await self._execute([_ask_tail(keys), ("XRANGE", keys.events, f"({after}", "+", "COUNT", count)])
            )
        return RawPage(entries, _tail(meta))

    async def settle(self, keys: SessionKeys, gap: Gap) -> Gap:
        """The same gap, but for one of a rollback with `to` moved before everything appended since.

        A writer that lost nothing itself goes on in its epoch after a rollback, below the ids of lost epochs: its
        events lie under the client's cursor, unseen. They tell by their time: in a whole log, what lies below the
        cursor's epoch was appended before that epoch was opened, at its ms. Of the cursor's own epoch everything that
        is left was seen: its one writer opens another when it lost something.
        """
        to = gap.to
        while to < gap.since:
            command = ("XREVRANGE", keys.events, str(to), "-", "COUNT", LARGE_PAGE)
            async with self._my_turn():
                (older,) = _or_raise(await self._execute([command]))
            for entry in map(decode_entry, older):
                if entry.at_ms < gap.since.epoch or entry.id.epoch == gap.since.epoch:
                    return Gap(gap.since, to, gap.reason)
                to = predecessor(entry)
            if len(older) < LARGE_PAGE:
                break
        return Gap(gap.since, to, gap.reason)

    @asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        """Raises TimeoutError when the reads before this one take too long: the store hangs."""
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            await self._turn.acquire()
        try:
            yield
        finally:
            self._turn.release()

    async def tails(self, logs: Sequence[SessionKeys]) -> list[Tail | None]:
        """Where each of these logs ends: one round trip, some hundred bytes a log. None: the store has something else
        under the log's name."""
        replies = await self._execute([_ask_tail(keys) for keys in logs])
        return [_tail_or_none(reply, keys) for reply, keys in zip(replies, logs, strict=True)]

    async def missed(self, cursors: Sequence[tuple[SessionKeys, EventId]], count: int) -> dict[str, list[Entry]]:
        """Up to `count` entries after each cursor, by the log's key. The caller bounds the reply: it knows from the
        tails' byte counts how much is missing."""
        if not cursors:
            return {}
        names = [keys.events for keys, _ in cursors]
        ids = [str(cursor) for _, cursor in cursors]
        (reply,) = _or_raise(await self._execute([("XREAD", "COUNT", count, "STREAMS", *names, *ids)]))
        return {cast(bytes, name).decode(): _decodable(entries) for name, entries in (reply or [])}


def _decodable(raws: Sequence[Sequence[object]]) -> list[Entry]:
    """The entries up to the first that cannot be decoded: one broken log must not hold up the others of its read."""
    entries = []
    for raw in raws:
        try:
            entries.append(decode_entry(raw))
        except UndecodableEntry:
            logger.exception("a log holds an entry that the append script did not write")
            break
    return entries


def _tail_or_none(reply: list[bytes | None] | Exception, keys: SessionKeys) -> Tail | None:
    if not isinstance(reply, Exception):
        try:
            return _tail(reply)
        except ValueError:
            logger.error("a log's counters are none: %r", reply, extra={"log": keys.events})
            return None
    if not isinstance(reply, ResponseError) or passes(reply):
        raise reply
    logger.error("a log cannot be read: %s", reply, extra={"log": keys.events})
    return None


async def _pipelined(redis: Redis, commands: Sequence[Command]) -> list[Any]:
    pipe = redis.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    replies: list[Any] = await pipe.execute(raise_on_error=False)
    return replies


def _or_raise(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _ask_tail(keys: SessionKeys) -> Command:
    return ("HMGET", keys.meta, "epoch", "n", "bytes", "deleted")


def _tail(meta: list[bytes | None]) -> Tail:
    epoch, n, total, deleted = meta
    if epoch is None or n is None:
        return Tail(START, 0, exists=False, deleted=None)
    return Tail(
        EventId(int(epoch), int(n)), int(total or 0), exists=True, deleted=EventId.decode(deleted) if deleted else None
    )
