"""A worker is killed: from kill -9 to the first event of the attempt that takes over. And what that costs all the time:
an iteration's appends with checkpoint and journal, beside the same events without."""

import asyncio
import os
import random
import signal
from time import perf_counter, process_time, time

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from redis.asyncio import Redis

from benchmarks.figures import Bar, Figures, Report, cpu_s, latencies, medians
from benchmarks.load import Poster
from benchmarks.stack import Process, Stack
from benchmarks.writers import Writer, open_writers
from runcast_events.entry import Entry
from runcast_events.events import IterationComplete, IterationStart, TaskStarted, ToolCallComplete, ToolCallStart
from runcast_events.ids import DEFAULT_TENANT, START
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog, Write
from runcast_events.publisher import Publisher
from runcast_events.reader import LogReader
from runcast_events.redis import connect
from runcast_worker.engines.llm.history import History

KILLS, TASKS = 10, 8
LEASE_S, TAKEN_S = 3.0, 15.0
BAR_S = LEASE_S + 2
"""Guarantee 5 of docs/architecture.md."""
LONG = {"agent": "script", "task": "long", "params": {"count": 600, "rate": 30}}

ROUNDS, ITERATIONS = 7, 100
HISTORIES = {"4 KB": 4, "64 KB": 64, "1 MB": 1024}
"""Kilobytes of what a model was told so far: a checkpoint has it whole."""
RESULT = "x" * 2000


def run() -> Report:
    report = Report("takeover")
    _recovery(report)
    _cost(report)
    return report


# --- how long it takes -----------------------------------------------------------------------------------------------


def _recovery(report: Report) -> None:
    with Stack(pinned=False, lease_ttl_s=f"{LEASE_S:g}") as stack:
        stack.store()
        stack.api()
        workers = [stack.worker(), stack.worker()]
        took_ms: list[float] = []
        for _ in range(KILLS):
            took_ms += asyncio.run(_kill(stack, workers.pop(0)))
            workers.append(stack.worker())
    report.add(f"{KILLS} kills, {len(took_ms)} tasks taken over", latencies(took_ms))
    slowest_s = max(took_ms) / 1000
    report.bars.append(Bar(f"slowest takeover {slowest_s:.2f} s <= {BAR_S:g} s", slowest_s <= BAR_S, correct=True))
    report.notes.append(f"lease {LEASE_S:g} s, renewed each third of it: one that dies has 2 to 3 s left; two workers")


async def _kill(stack: Stack, victim: Process) -> list[float]:
    """Kill a worker while tasks run; milliseconds until each of those it held has begun again."""
    redis = connect(stack.redis_url, "bench")
    poster = await Poster.connect(stack.api_port)
    tasks = [await poster.post("/api/tasks", LONG) for _ in range(TASKS)]
    sessions = [task["session_id"] for task in tasks]
    async with asyncio.timeout(TAKEN_S):
        await asyncio.gather(*(_starts(redis, session, 1) for session in sessions))
        await asyncio.sleep(random.uniform(0, LEASE_S / 3))
        os.kill(victim.pid, signal.SIGKILL)
        killed_at = time() * 1000
        held = [session for session in sessions if await _holder(redis, session) == victim.pid]
        taken = await asyncio.gather(*(_starts(redis, session, 2) for session in held))
    for task in tasks:
        await poster.post(f"/api/tasks/{task['task_id']}/cancel", {})
    poster.close()
    await redis.aclose()
    return [float(starts[-1].at_ms) - killed_at for starts in taken]


async def _starts(redis: Redis, session: str, count: int) -> list[Entry]:
    """Wait until that many attempts have begun."""
    keys = Keyspace().session(DEFAULT_TENANT, session)
    while True:
        page = await LogReader(redis).page(keys, START, 1000)
        starts = [entry for entry in page.entries if entry.type == "task_started"]
        if len(starts) >= count:
            return starts
        await asyncio.sleep(0.02)


async def _holder(redis: Redis, session: str) -> int:
    """The pid in the name of the worker that began the last attempt."""
    last = (await _starts(redis, session, 1))[-1]
    return int(TaskStarted.model_validate_json(last.payload).worker.split("-")[-2])


# --- what it costs ---------------------------------------------------------------------------------------------------


def _cost(report: Report) -> None:
    with Stack() as stack:
        store = stack.store()
        stack.move_here()
        for name, kilobytes in HISTORIES.items():
            rounds = [
                {how: asyncio.run(_iterations(stack, store, kilobytes if how else 0)) for how in (True, False)}
                for _ in range(ROUNDS)
            ]
            for how, case in (
                (True, f"iteration of a {name} task, checkpoint and journal"),
                (False, "the same without"),
            ):
                report.add(case, medians([each[how] for each in rounds]))
    report.notes.append(
        f"medians of {ROUNDS} rounds in turns, {ITERATIONS} iterations each: its start, a call with a result of "
        f"{len(RESULT)} B, its end; two checkpoints. Waited for where a worker waits: before the call, and at the end"
    )


async def _iterations(stack: Stack, store: Process, kilobytes: int) -> Figures:
    """`kilobytes`: of the checkpoints; 0: no checkpoint, no journal."""
    redis = connect(stack.redis_url, "bench")
    await redis.flushall()
    (writer,) = await open_writers(redis, EventLog(redis), ["takeover"])
    history = _history(kilobytes)
    wall_s, own_s, store_s = perf_counter(), process_time(), cpu_s(store.pid)
    async with Publisher(EventLog(redis), writer.hold, writer.envelope) as publisher:
        for event in writer.begin("bench"):
            await publisher.publish(event)
        for iteration in range(1, ITERATIONS + 1):
            await _iteration(publisher, writer, iteration, history if kilobytes else None)
        wall_s, own_s, store_s = perf_counter() - wall_s, process_time() - own_s, cpu_s(store.pid) - store_s
    await redis.aclose()
    return {
        "ms/iteration": wall_s / ITERATIONS * 1000,
        "CPU ms/iteration": own_s / ITERATIONS * 1000,
        "store CPU ms/iteration": store_s / ITERATIONS * 1000,
    }


async def _iteration(publisher: Publisher, writer: Writer, iteration: int, history: History | None) -> None:
    encode, call_id = writer.envelope.encode, f"{iteration}.0"
    about = {"iteration": iteration, "tool_call_id": call_id, "tool_name": "shell"}
    started = ToolCallStart.model_validate({**about, "arguments": {"command": "ls"}})
    ended = ToolCallComplete.model_validate({**about, "duration_ms": 1, "result": RESULT})
    await publisher.publish(encode(IterationStart(iteration=iteration)))
    begun, done, over = [], [], []
    if history is not None:
        begun = [Write("checkpoint", "", history.dump()), Write("journal", call_id, '{"complete":null}')]
    await publisher.acknowledged(await publisher.publish(encode(started), begun))
    if history is not None:
        done = [Write("journal", call_id, ended.model_dump_json())]
    await publisher.publish(encode(ended), done)
    if history is not None:
        over = [Write("checkpoint", "", history.dump()), Write("settled", call_id, "")]
    await publisher.acknowledged(await publisher.publish(encode(IterationComplete(iteration=iteration)), over))


def _history(kilobytes: int) -> History:
    """Question and answer in turns, a kilobyte each."""
    history = History("", [], "go")
    history._own += [_said(number) for number in range(kilobytes - 1)]
    return history


def _said(number: int) -> ModelMessage:
    text = "word " * 180
    return ModelRequest([UserPromptPart(text)]) if number % 2 else ModelResponse([TextPart(text)])
