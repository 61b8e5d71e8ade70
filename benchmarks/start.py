"""From POST /api/tasks to `task_started` at a client with an open stream, on an idle stack."""

import asyncio
import random
from time import perf_counter

from benchmarks.figures import Bar, Report, latencies, percentile
from benchmarks.load import Lines, Poster, open_streams
from benchmarks.stack import Stack

ROUNDS = 2
TASKS, POLLED_TASKS = 100, 20
POLL_S = 0.5
TASK_S = 10.0
WARM = 5
BAR_MS = 10.0


def run() -> Report:
    report = Report("start")
    woken: list[float] = []
    polled: list[float] = []
    with Stack(pinned=False) as stack:
        stack.store()
        stack.api()
        stack.gateway()
        for _ in range(ROUNDS):
            worker = stack.worker()
            woken += asyncio.run(_tasks(stack, TASKS, 0.1))
            worker.end()
            worker = stack.worker("-m", "benchmarks.polling")
            polled += asyncio.run(_tasks(stack, POLLED_TASKS, POLL_S))
            worker.end()
    report.add(f"woken, {len(woken)} tasks", latencies(woken))
    report.add(f"arq's own loop (looks every {POLL_S:g} s), {len(polled)} tasks", latencies(polled))
    p50, slow = percentile(woken, 0.5), percentile(polled, 0.5)
    report.bars.append(Bar(f"p50 {p50:.1f} ms <= {BAR_MS:g} ms", p50 <= BAR_MS))
    report.notes.append(f"arq's own loop takes {slow / p50:.0f} times as long (p50), in the same run")
    report.notes.append(
        "tasks come at random moments, so polling costs half its interval on average; sent right after the end of the "
        "task before, it would cost nearly all of it"
    )
    return report


async def _tasks(stack: Stack, count: int, pause_s: float) -> list[float]:
    """Milliseconds of each task: one after the other, in one session, each after a random pause."""
    started, ended = asyncio.Event(), asyncio.Event()
    arrived_at = 0.0

    def event(kind: bytes) -> None:
        nonlocal arrived_at
        if kind == b"task_started":
            arrived_at = perf_counter()
            started.set()
        elif kind == b"task_complete":
            ended.set()

    path = "/stream/sessions/start?last_event_id=latest"
    (stream,) = await open_streams(stack.gateway_port, [lambda: Lines(path, event)])
    poster = await Poster.connect(stack.api_port)
    task = {"task": "one event", "session_id": "start", "agent": "script", "params": {"count": 1}}
    took_ms = []
    for _ in range(WARM + count):
        await asyncio.sleep(random.uniform(0, pause_s))
        started.clear()
        ended.clear()
        sent_at = perf_counter()
        async with asyncio.timeout(TASK_S):
            await poster.post("/api/tasks", task)
            await started.wait()
            took_ms.append((arrived_at - sent_at) * 1000)
            await ended.wait()
    poster.close()
    stream.close()
    return took_ms[WARM:]
