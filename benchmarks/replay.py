"""A client that comes back and missed 10,000 events; and fifty of them at once."""

import asyncio
import os
import re
from collections.abc import Sequence
from time import monotonic

import uvloop

from benchmarks.figures import Bar, Figures, Report, cpu_s
from benchmarks.load import Stream, open_streams
from benchmarks.rounds import quiet_rounds
from benchmarks.stack import Process, Stack
from benchmarks.writers import open_writers
from runcast_events.log import EventLog
from runcast_events.publisher import Publisher
from runcast_events.redis import connect

MISSED = 10_000
ROUNDS = 5
CLIENTS = (1, 50)
REPLAY_S = 60.0
MARK = re.compile(rb'"delta":"@([0-9]{8})')
MARK_BYTES = 18
NUMBERS = [b"%08d" % number for number in range(1, MISSED + 1)]


class Returning(Stream):
    """One client. `right`: what came so far is the log, without a hole."""

    def __init__(self, path: str, cursor: str) -> None:
        super().__init__(path, cursor)
        self._rest = b""
        self.count = 0
        self.right = True
        self.first_at = self.last_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, data: bytes) -> None:
        data = self._rest + data
        numbers = MARK.findall(data)
        # Shorter than a mark, so that none is counted twice.
        self._rest = data[1 - MARK_BYTES :]
        if not numbers:
            return
        self.last_at = monotonic()
        self.first_at = self.first_at or self.last_at
        self.right = self.right and numbers == NUMBERS[self.count : self.count + len(numbers)]
        self.count += len(numbers)
        if self.count >= MISSED and not self.done.done():
            self.done.set_result(None)


def run() -> Report:
    report = Report("replay")
    uvloop.run(_measure(report))
    report.notes.append(f"medians of {ROUNDS}; from the connect to the last of {MISSED:,} events of 250 B")
    return report


async def _measure(report: Report) -> None:
    with Stack() as stack:
        store = stack.store()
        gateway = stack.gateway()
        cursor = await _fill(stack)
        right = True
        await _return(stack, cursor, 1)
        for clients in CLIENTS:

            async def measure(clients: int = clients) -> Figures:
                nonlocal right
                figures, streams = await _round(stack, cursor, clients, gateway, store)
                right = right and all(stream.right and stream.count == MISSED for stream in streams)
                return figures

            case = f"{clients} client{'s' * (clients > 1)} x {MISSED:,} missed"
            await quiet_rounds(report, case, ROUNDS, (os.getpid(), gateway.pid, store.pid), measure)
        report.bars.append(Bar("every client was shown exactly the events it missed, in order", right, correct=True))


async def _fill(stack: Stack) -> str:
    """A log to come back to; returns the cursor before the missed events."""
    redis = connect(stack.redis_url, "bench")
    log = EventLog(redis)
    (writer,) = await open_writers(redis, log, ["replay"])
    async with Publisher(log, writer.hold, writer.envelope) as publisher:
        for event in writer.begin("bench"):
            await publisher.publish(event)
        cursor = await publisher.acknowledged()
        for number in NUMBERS:
            await publisher.publish(writer.output(f"@{number.decode()}"))
    await redis.aclose()
    return str(cursor)


async def _round(
    stack: Stack, cursor: str, clients: int, gateway: Process, store: Process
) -> tuple[Figures, Sequence[Returning]]:
    used_s, store_s, began = cpu_s(gateway.pid), cpu_s(store.pid), monotonic()
    streams = await _return(stack, cursor, clients)
    used_s, store_s = cpu_s(gateway.pid) - used_s, cpu_s(store.pid) - store_s
    events = sum(stream.count for stream in streams)
    wall_s = max(stream.last_at for stream in streams) - began
    first_ms = sorted((stream.first_at - began) * 1000 for stream in streams)
    return {
        "events/s": events / wall_s,
        "first event ms: median client": first_ms[len(first_ms) // 2],
        "last client": first_ms[-1],
        "gateway us/event": used_s / events * 1e6,
        "gateway cores": used_s / wall_s,
        "store us/event": store_s / events * 1e6,
    }, streams


async def _return(stack: Stack, cursor: str, clients: int) -> Sequence[Returning]:
    path = "/stream/sessions/replay"
    streams = await open_streams(stack.gateway_port, [lambda: Returning(path, cursor) for _ in range(clients)])
    async with asyncio.timeout(REPLAY_S):
        await asyncio.gather(*(stream.done for stream in streams))
    for stream in streams:
        stream.close()
    return streams
