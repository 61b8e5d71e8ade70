"""What slow clients cost the others: 2,000 clients of which 200 read less than is written and 20 nothing at all, in
turns with the 1,780 others alone. The gateway has to take those that cannot follow out of its live set.

A pair in which others used the machine is measured again, and the quietest count: one disturbance of a round is more
than what is looked for.
"""

import asyncio
import gc
import os
from array import array
from collections.abc import Sequence
from statistics import median
from time import monotonic, monotonic_ns

import httpx2
import uvloop

from benchmarks.crowd import DEAF, FAST, PACE, SLOW, Arrivals, Watcher, open_clients
from benchmarks.figures import Bar, Figures, Report, cpu_s, medians, percentile, rss_kb
from benchmarks.others import OTHERS, QUIET, beside_others
from benchmarks.stack import LOOPBACK, Process, Stack
from benchmarks.writers import Writer, open_writers
from runcast_events.log import EventLog
from runcast_events.redis import connect

SESSIONS = 20
RATE, EVENT_BYTES = 6, 24_000
"""Events a second and session: 144 KB/s for a client."""
PAIRS, TRIES = 5, 2
"""Times the wanted pairs that are measured at most."""
Pair = tuple[Figures, Figures]
"""The others alone, and beside the slow ones."""
WARM_S, ROUND_S, SETTLE_S, GONE_S = 6.0, 8.0, 10.0, 20.0
"""While it warms up the slow clients' sockets fill."""
TICK_S = 0.001
RATIO = 1.3


class Pen:
    """Writes to all sessions in turn, each event an append of its own. `number`: of each session's last event."""

    def __init__(self, log: EventLog, writers: Sequence[Writer]) -> None:
        self._log, self._writers = log, writers
        self.number = 0
        self._filler = "x" * EVENT_BYTES

    async def write(self, seconds: float) -> None:
        began, made = monotonic(), 0
        while (now := monotonic() - began) < seconds:
            for index in range(made, int(now * RATE * SESSIONS)):
                await self._append(index % SESSIONS)
                made += 1
            await asyncio.sleep(TICK_S)
        for index in range(made, -(-made // SESSIONS) * SESSIONS):
            await self._append(index % SESSIONS)

    async def _append(self, index: int) -> None:
        writer = self._writers[index]
        self.number += index == 0
        writer.sequence += 1
        text = f"@{monotonic_ns() // 1000:016d} {self.number:08d} {self._filler}"
        await self._log.append(writer.hold, writer.sequence, [writer.output(text)])


def run() -> Report:
    report = Report("slow")
    with Stack() as stack:
        pids = (stack.store().pid, (gateway := stack.gateway()).pid, os.getpid())

        def one(*, slow: bool) -> Figures:
            figures, others = beside_others(pids, lambda: uvloop.run(_round(stack, gateway, slow=slow)))
            return {**figures, OTHERS: others}

        one(slow=True)  # what it takes once is in no pair
        pairs: list[Pair] = []
        while len(pairs) < TRIES * PAIRS and sum(_others(pair) <= QUIET for pair in pairs) < PAIRS:
            if len(pairs) % 2:
                pairs.append((one(slow=False), one(slow=True)))
            else:
                beside = one(slow=True)
                pairs.append((one(slow=False), beside))
    _judge(report, pairs)
    report.notes.append(f"{SESSIONS} sessions, {RATE} events of {EVENT_BYTES / 1000:g} KB a second in each")
    report.notes.append(f"a round: {ROUND_S:g} s after {WARM_S:g} s; slow clients read {PACE / 1000:g} KB/s")
    return report


def _judge(report: Report, pairs: Sequence[Pair]) -> None:
    kept = sorted(pairs, key=_others)[:PAIRS]
    report.add(f"{FAST:,} clients alone", medians([alone for alone, _ in kept]))
    report.add(f"beside {SLOW} slow ones, {DEAF} that never read", medians([beside for _, beside in kept]))
    ratios = [beside["p99 ms"] / alone["p99 ms"] for alone, beside in kept]
    report.add("p99 beside / alone", {"median": median(ratios), "lowest": min(ratios), "highest": max(ratios)})
    report.bars.append(Bar(f"p99 of the others <= {RATIO} x", median(ratios) <= RATIO))
    wrong = sum(figures["wrong"] + figures["missing"] for pair in pairs for figures in pair)
    report.bars.append(Bar("every client was shown events in order, the others all of them", wrong == 0, correct=True))
    left = all(beside["not live"] >= SLOW + DEAF for _, beside in pairs)
    report.bars.append(Bar("slow clients and those that never read had left the live set", left, correct=True))
    if len(pairs) > PAIRS:
        report.notes.append(f"the {PAIRS} quietest of {len(pairs)} pairs")
    if _others(kept[-1]) > QUIET:
        report.notes.append(f"disturbed: others used more than {QUIET} cores in some of them")


def _others(pair: Pair) -> float:
    """What others took of the machine in its noisier round, cores."""
    return max(figures[OTHERS] for figures in pair)


async def _round(stack: Stack, gateway: Process, *, slow: bool) -> Figures:
    """With clients, sessions and a store of its own."""
    redis = connect(stack.redis_url, "bench")
    await redis.flushdb()
    log, session_ids = EventLog(redis), [f"s{index}" for index in range(SESSIONS)]
    writers = await open_writers(redis, log, session_ids)
    for writer in writers:
        batch = writer.begin("bench")
        await log.append(writer.hold, 1, batch)
        writer.sequence = len(batch)
    async with httpx2.AsyncClient(base_url=f"http://{LOOPBACK}:{stack.gateway_port}", timeout=10) as http:
        arrivals = Arrivals(1 << 62, array("d"))
        clients = await open_clients(stack.gateway_port, session_ids, arrivals, slow)
        pen = Pen(log, writers)
        await pen.write(WARM_S)
        gc.collect()
        gc.disable()  # a pause of this client would be counted as the gateway's
        arrivals.measure_us, used_s = monotonic_ns() // 1000, cpu_s(gateway.pid)
        await pen.write(ROUND_S)
        used_s = cpu_s(gateway.pid) - used_s
        await _settle(clients.fast, pen.number)
        gc.enable()
        stats = (await http.get("/stream/stats")).json()
        figures = {
            "p50 ms": percentile(arrivals.took_us, 0.5) / 1000,
            "p99 ms": percentile(arrivals.took_us, 0.99) / 1000,
            "gateway cores": used_s / ROUND_S,
            "gateway MB": rss_kb(gateway.pid) / 1024,
            "not live": FAST + (SLOW + DEAF) * slow - stats["live"],
            "wrong": arrivals.wrong,
            "missing": sum(pen.number - watcher.last for watcher in clients.fast),
        }
        clients.close()
        await _nobody(http)
    await redis.aclose()
    return figures


async def _settle(watchers: Sequence[Watcher], last: int) -> None:
    """Until everything arrived, or what is missing had time enough."""
    until = monotonic() + SETTLE_S
    while monotonic() < until:
        if all(watcher.last == last for watcher in watchers):
            return
        await asyncio.sleep(0.01)


async def _nobody(http: httpx2.AsyncClient) -> None:
    """Until the gateway has noticed that all are gone. Raises TimeoutError."""
    async with asyncio.timeout(GONE_S):
        while True:
            if (await http.get("/stream/stats")).json()["connections"] == 0:
                return
            await asyncio.sleep(0.05)
