"""A reader that drops and comes back, and what must be true of all that it was shown."""

from redis.asyncio import Redis

from runcast_events.continuity import Gap, follows, gap_before
from runcast_events.entry import Entry
from runcast_events.ids import START
from runcast_events.reader import LogReader
from tests.attempts import session_keys

KEYS = session_keys()


class DroppingReader:
    """A reader that drops and comes back as it likes, and writes down what it was shown."""

    def __init__(self) -> None:
        self.cursor = START
        self.seen: list[Entry | Gap] = []

    async def read(self, redis: Redis, count: int) -> None:
        """One page, told by the rules of the protocol."""
        reader = LogReader(redis)
        page = await reader.page(KEYS, self.cursor, count)
        if page.tail.id < self.cursor:
            self.show_gap(await reader.settle(KEYS, Gap(self.cursor, page.tail.id, "rewound")))
            return
        for entry in page.entries:
            if not follows(self.cursor, entry.id, entry.prev):
                self.show_gap(await reader.settle(KEYS, gap_before(self.cursor, entry)))
                return
            self.seen.append(entry)
            self.cursor = entry.id

    def show_gap(self, gap: Gap) -> None:
        assert gap.since == self.cursor
        assert gap.to != self.cursor
        self.seen.append(gap)
        self.cursor = gap.to


def check_recorded(client: DroppingReader, log: list[Entry]) -> None:
    """2: what a client holds after taking back what gaps told it was lost is the log, from its first to its last event,
    but for what gaps told it was trimmed."""
    held: list[Entry] = []
    skipped: list[Gap] = []
    for item in client.seen:
        if isinstance(item, Entry):
            held.append(item)
        elif item.to < item.since:
            held = [entry for entry in held if entry.id <= item.to]
        else:
            skipped.append(item)
    first = log[0].id if log else START
    present = {entry.id: entry.payload for entry in log}
    for entry in held:
        if entry.id >= first:
            assert present.get(entry.id) == entry.payload, f"the client holds {entry.id}, which the log has not"
    shown = {entry.id for entry in held}
    for entry in log:
        told = any(gap.since < entry.id <= gap.to for gap in skipped)
        assert told or entry.id in shown, f"the client was not shown {entry.id}, and no gap told it"
