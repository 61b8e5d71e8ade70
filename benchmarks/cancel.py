"""From the POST of a cancel to `task_cancelled` at a client with an open stream, by what the task was doing."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from benchmarks.figures import Bar, Report, latencies
from benchmarks.load import Lines, Poster, open_streams
from benchmarks.stack import LOOPBACK, Stack
from runcast_local.store import free_port

WARM = 2
TASK_S = 20.0
SETTLE_S = 0.15
"""At most this long, by lot, a task goes on before it is cancelled."""
AGENTS = """
[agents.script]
engine = "script"
[agents.slow]
engine = "llm"
model = "stub-slow"
tools = []
[agents.llm]
engine = "llm"
model = "stub"
tools = ["shell"]
"""


@dataclass(frozen=True, slots=True)
class Case:
    """`awaited`: the event after which the task is cancelled. `bar_s`: guarantee 6 of docs/architecture.md. `behind`:
    another task holds the session."""

    name: str
    task: Mapping[str, object]
    awaited: str
    bar_s: float = 2.0
    count: int = 40
    behind: bool = False


def _shell(command: str) -> Mapping[str, object]:
    return {"agent": "llm", "task": f'Use shell {{"command": "{command}"}}'}


PAUSING = {"agent": "script", "task": "slow", "params": {"count": 100, "rate": 1}}
CASES = [
    Case("in the queue", PAUSING, "task_queued", behind=True),
    Case("in a script's pause", PAUSING, "output"),
    Case("in a model's answer", {"agent": "slow", "task": "word " * 70}, "output"),
    Case("in a command", _shell("echo begun; sleep 60"), "tool_call_stream", bar_s=10),
    Case(
        "in a command deaf to SIGTERM",
        _shell("trap : TERM; echo begun; sleep 60; sleep 60"),
        "tool_call_stream",
        bar_s=10,
        count=10,
    ),
]


def run() -> Report:
    report = Report("cancel")
    port = free_port()
    with Stack(pinned=False, agents=AGENTS, llm_base_url=f"http://{LOOPBACK}:{port}/v1") as stack:
        stack.store()
        stack.model(port)
        stack.api()
        stack.gateway()
        stack.worker()
        for case in CASES:
            took_ms = asyncio.run(_cancels(stack, case))
            report.add(f"{case.name}, {case.count} tasks", latencies(took_ms))
            slowest_s = max(took_ms) / 1000
            text = f"{case.name}: the slowest {slowest_s:.2f} s <= {case.bar_s:g} s"
            report.bars.append(Bar(text, slowest_s <= case.bar_s, correct=True))
    report.notes.append("one task after the other, each in a session of its own")
    report.notes.append("what is deaf to SIGTERM is killed two seconds later")
    return report


async def _cancels(stack: Stack, case: Case) -> list[float]:
    """Milliseconds of each."""
    poster = await Poster.connect(stack.api_port)
    took_ms = [await _cancel(stack, poster, case) for _ in range(WARM + case.count)]
    poster.close()
    return took_ms[WARM:]


async def _cancel(stack: Stack, poster: Poster, case: Case) -> float:
    holder = await poster.post("/api/tasks", case.task) if case.behind else None
    session = {"session_id": holder["session_id"]} if holder else {}
    task = await poster.post("/api/tasks", {**case.task, **session})
    reached, ended, arrived_at = asyncio.Event(), asyncio.Event(), dict[bytes, float]()

    def event(kind: bytes) -> None:
        arrived_at[kind] = perf_counter()
        if kind == case.awaited.encode():
            reached.set()
        elif kind == b"task_cancelled":
            ended.set()

    (stream,) = await open_streams(stack.gateway_port, [_lines(task, event)])
    async with asyncio.timeout(TASK_S):
        await reached.wait()
        await asyncio.sleep(random.uniform(0, SETTLE_S))
        asked_at = perf_counter()
        await poster.post(f"/api/tasks/{task['task_id']}/cancel", {})
        await ended.wait()
    stream.close()
    if holder is not None:
        await poster.post(f"/api/tasks/{holder['task_id']}/cancel", {})
    return (arrived_at[b"task_cancelled"] - asked_at) * 1000


def _lines(task: Mapping[str, Any], event: Callable[[bytes], None]) -> Callable[[], Lines]:
    return partial(Lines, f"/stream/sessions/{task['session_id']}", event)
