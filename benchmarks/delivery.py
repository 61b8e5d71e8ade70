"""From append to arrival: 1,000 sessions, each written by an attempt and followed by a client, on one gateway process.

Each event is an append of its own, as the product makes them at this pace. Its delta carries the CLOCK_MONOTONIC of the
moment before it was encoded, its number and its session; every arrival is checked against them.
"""

import asyncio
import gc
import os
from array import array
from collections.abc import Sequence
from time import monotonic_ns
from typing import cast

import uvloop
from redis.asyncio import Redis

from benchmarks.figures import Bar, Figures, Report, cpu_s, percentile, rss_kb
from benchmarks.load import Stream, open_streams
from benchmarks.rounds import quiet_rounds
from benchmarks.stack import LOOPBACK, Process, Stack
from benchmarks.wire import Wire
from benchmarks.writers import Writer, open_writers
from runcast_events.log import EventLog
from runcast_events.redis import connect

SESSIONS = 1000
RATES = (10, 5)
"""Events a second and session."""
ROUNDS = 3
WARM_S, ROUND_S, SETTLE_S = 1.0, 4.0, 10.0
TICK_S = 0.001
MARK = b'"delta":"@'
# @<us, 16 digits> <number, 8> <session, 4>: fixed width, so that reading it is slicing.
NEED = len(MARK) + 16 + 1 + 8 + 1 + 4


class Arrivals:
    """What all clients of a round saw. `took_us`: of events appended since `measure` was set."""

    def __init__(self) -> None:
        self.measure_us = 1 << 62
        self.took_us = array("d")
        self.delivered = self.gaps = self.repeats = self.strays = 0


class Watcher(Stream):
    """One client, which counts. `last`: the number of the last event."""

    def __init__(self, session: int, arrivals: Arrivals) -> None:
        super().__init__(f"/stream/sessions/s{session}?last_event_id=latest")
        self._session, self._arrivals = b"%04d" % session, arrivals
        self._rest = b""
        self.last = 0

    def take(self, data: bytes) -> None:
        arrivals, now_us = self._arrivals, monotonic_ns() // 1000
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = data.find(MARK)
        end = 0
        while at >= 0 and at + NEED <= len(data):
            start = at + len(MARK)
            end = at + NEED
            self._event(arrivals, now_us, int(data[start : start + 16]), int(data[start + 17 : start + 25]))
            if data[start + 26 : end] != self._session:
                arrivals.strays += 1
            at = data.find(MARK, end)
        self._rest = data[at:] if at >= 0 else data[max(end, len(data) - len(MARK) + 1) :]

    def _event(self, arrivals: Arrivals, now_us: int, sent_us: int, number: int) -> None:
        arrivals.delivered += 1
        if number > self.last + 1:
            arrivals.gaps += number - self.last - 1
        elif number <= self.last:
            arrivals.repeats += 1
        self.last = max(self.last, number)
        if sent_us >= arrivals.measure_us:
            arrivals.took_us.append(now_us - sent_us)


class Pace:
    """Appends at a rate, spread evenly over the sessions. `late_us`: by how much each tick was behind its time."""

    def __init__(self, log: EventLog, writers: Sequence[Writer]) -> None:
        self._log, self._writers = log, writers
        self.numbers = [0] * len(writers)
        self.late_us = array("d")
        self._appends: set[asyncio.Task[None]] = set()
        self.most_waiting = 0

    async def run(self, rate: float, duration_s: float) -> None:
        """Returns when everything is appended. `rate`: events a second, of all sessions together."""
        began = monotonic_ns()
        made = 0
        while (elapsed_s := (monotonic_ns() - began) / 1e9) < duration_s:
            due = int(elapsed_s * rate)
            if due > made:
                self.late_us.append((elapsed_s - made / rate) * 1e6)
            for index in range(made, due):
                append = asyncio.ensure_future(self._append(index % len(self._writers)))
                self._appends.add(append)
                append.add_done_callback(self._appends.discard)
            made = due
            self.most_waiting = max(self.most_waiting, len(self._appends))
            await asyncio.sleep(TICK_S)
        if self._appends:
            await asyncio.gather(*self._appends)

    async def _append(self, index: int) -> None:
        writer = self._writers[index]
        self.numbers[index] += 1
        text = f"@{monotonic_ns() // 1000:016d} {self.numbers[index]:08d} {index:04d}"
        writer.sequence += 1
        await self._log.append(writer.hold, writer.sequence, [writer.output(text)])


def run() -> Report:
    report = Report("delivery")
    uvloop.run(_measure(report))
    report.notes.append(f"one round: {ROUND_S:g} s, the first after {WARM_S:g} s of warming up; medians of {ROUNDS}")
    report.notes.append(f"gateway on one core; store and load client (publisher and {SESSIONS} readers) on another")
    return report


async def _measure(report: Report) -> None:
    with Stack() as stack:
        store = stack.store()
        gateway = stack.gateway()
        idle_kb = rss_kb(gateway.pid)
        redis = connect(stack.redis_url, "bench")
        wire = await Wire.connect(LOOPBACK, int(stack.redis_url.rpartition(":")[2].partition("/")[0]))
        log = EventLog(cast(Redis, wire))
        await wire.load()
        writers = await open_writers(redis, log, [f"s{index}" for index in range(SESSIONS)])
        for writer in writers:
            batch = writer.begin("bench")
            await log.append(writer.hold, 1, batch)
            writer.sequence = len(batch)
        arrivals = Arrivals()
        makers = [lambda index=index: Watcher(index, arrivals) for index in range(SESSIONS)]
        watchers = await open_streams(stack.gateway_port, makers)
        pace = Pace(log, writers)
        gc.collect()
        gc.disable()  # a pause of this client would be counted as the gateway's
        for rate in RATES:
            await pace.run(rate * SESSIONS, WARM_S)

            async def measure(rate: float = rate * SESSIONS) -> Figures:
                return await _round(rate, pace, arrivals, watchers, gateway, store)

            pids = (os.getpid(), gateway.pid, store.pid)
            await quiet_rounds(report, f"{SESSIONS:,} sessions x {rate}/s", ROUNDS, pids, measure)
        report.add("memory", {"MB before": idle_kb / 1024, "MB after": rss_kb(gateway.pid) / 1024})
        appended = sum(pace.numbers)
        missing = sum(number - watcher.last for number, watcher in zip(pace.numbers, watchers, strict=True))
        wrong = {"missing": missing, "gaps": arrivals.gaps, "repeated": arrivals.repeats, "strays": arrivals.strays}
        report.add("checked", {"appended": appended, "delivered": arrivals.delivered, **wrong})
        right = arrivals.delivered == appended and not any(wrong.values())
        report.bars.append(Bar("every event arrived once, in order, at its session's client", right, correct=True))
        gc.enable()
        for watcher in watchers:
            watcher.close()
        wire.close()
        await redis.aclose()


async def _round(
    rate: float, pace: Pace, arrivals: Arrivals, watchers: Sequence[Watcher], gateway: Process, store: Process
) -> Figures:
    arrivals.took_us, arrivals.measure_us = array("d"), monotonic_ns() // 1000
    pace.late_us, pace.most_waiting = array("d"), 0
    own = os.getpid()
    before = [cpu_s(pid) for pid in (gateway.pid, store.pid, own)]
    delivered = arrivals.delivered
    began = monotonic_ns()
    await pace.run(rate, ROUND_S)
    await _settle(pace, watchers)
    wall_s = (monotonic_ns() - began) / 1e9
    used = [cpu_s(pid) - since for pid, since in zip((gateway.pid, store.pid, own), before, strict=True)]
    count = arrivals.delivered - delivered
    took = arrivals.took_us
    return {
        "deliveries/s": count / wall_s,
        "p50 ms": percentile(took, 0.5) / 1000,
        "p99 ms": percentile(took, 0.99) / 1000,
        "p99.9 ms": percentile(took, 0.999) / 1000,
        "gateway us/delivery": used[0] / count * 1e6,
        "gateway cores": used[0] / wall_s,
        "store cores": used[1] / wall_s,
        "load cores": used[2] / wall_s,
        "publisher late p99 ms": percentile(pace.late_us, 0.99) / 1000,
    }


async def _settle(pace: Pace, watchers: Sequence[Watcher]) -> None:
    """Until everything arrived, or what is missing had time enough."""
    deadline = monotonic_ns() + SETTLE_S * 1e9
    while any(w.last < n for w, n in zip(watchers, pace.numbers, strict=True)):
        if monotonic_ns() > deadline:
            return
        await asyncio.sleep(0.01)
