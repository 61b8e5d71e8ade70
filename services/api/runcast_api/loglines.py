"""The lines of one task's process: read from its session's event log, page by page, and rendered."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from runcast_events.ansi import strip_ansi
from runcast_events.continuity import Gap, follows, gap_before
from runcast_events.entry import Entry
from runcast_events.keys import SessionKeys
from runcast_events.reader import LogReader
from runcast_tasks.errors import NotFound, SessionDeleted
from runcast_tasks.record import TaskRecord

SLICE = 50
FAST_SLICE = 250
"""Events read at once; the larger after a page of events that were not large, since each may take 64 KiB."""
FAST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class LogLine:
    attempt: int
    line_num: int
    stream: str
    timestamp: str
    line: str


async def read_log(reader: LogReader, keys: SessionKeys, record: TaskRecord) -> AsyncIterator[list[LogLine | Gap]]:
    """The task's lines in order, until its end or what was the log's end at the first read; a gap where events are
    missing. Raises NotFound, SessionDeleted before the first page."""
    cursor, count = record.after_id, SLICE
    end = None
    while end is None or cursor < end:
        page = await reader.page(keys, cursor, count)
        if end is None:
            if page.tail.deleted is not None:
                raise SessionDeleted(record.session_id)
            if not page.tail.exists:
                raise NotFound("task", record.id)
            end = page.tail.id if record.terminal_id is None else record.terminal_id
        if not page.entries:
            if cursor < end:
                yield [Gap(cursor, end, "gone")]
            return
        items: list[LogLine | Gap] = []
        for entry in page.entries:
            if entry.id > end:
                yield items
                return
            if not follows(cursor, entry.id, entry.prev):
                items.append(gap_before(cursor, entry))
            if entry.type == "log" and entry.task_id == record.id:
                items.append(_line(entry))
            cursor = entry.id
        yield items
        size = sum(len(entry.payload) for entry in page.entries)
        count = FAST_SLICE if size <= FAST_BYTES * len(page.entries) // FAST_SLICE else SLICE


def _line(entry: Entry) -> LogLine:
    payload = json.loads(entry.payload)
    return LogLine(
        int(payload.get("attempt", 1)), payload["line_num"], payload["stream"], payload["timestamp"], payload["line"]
    )


class Rendering:
    """Of one answer: `begin`, then `items` as often as there are some, then `end`."""

    def __init__(self, format: Literal["text", "json", "ndjson"], *, keep_ansi: bool) -> None:  # noqa: A002
        self._format, self._keep_ansi = format, keep_ansi
        self._attempt: int | None = None
        self._some = False
        self.media_type = {
            "text": "text/plain; charset=utf-8",
            "json": "application/json",
            "ndjson": "application/x-ndjson",
        }[format]

    def begin(self) -> bytes:
        return b'{"data":[' if self._format == "json" else b""

    def items(self, items: Sequence[LogLine | Gap]) -> bytes:
        return "".join(map(self._item, items)).encode(errors="replace")

    def end(self) -> bytes:
        return b"]}" if self._format == "json" else b""

    def _item(self, item: LogLine | Gap) -> str:
        if isinstance(item, LogLine) and not self._keep_ansi:
            item = replace(item, line=strip_ansi(item.line))
        if self._format == "text":
            return self._text(item)
        document = asdict(item) if isinstance(item, LogLine) else {"gap": _gap(item)}
        written = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        if self._format == "ndjson":
            return written + "\n"
        comma, self._some = "," if self._some else "", True
        return comma + written

    def _text(self, item: LogLine | Gap) -> str:
        if isinstance(item, Gap):
            where = "the beginning of this log was trimmed" if self._attempt is None else "lines are missing here"
            return f"[{where}]\n"
        begins = self._attempt not in (None, item.attempt)
        self._attempt = item.attempt
        return f"[attempt {item.attempt}]\n{item.line}\n" if begins else f"{item.line}\n"


def _gap(gap: Gap) -> dict[str, str]:
    return {"from": str(gap.since), "to": str(gap.to), "reason": gap.reason}
