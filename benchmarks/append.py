"""Events a second through the append script: a publisher alone, and a whole worker; beside plain pipelined XADD."""

import asyncio
import cProfile
import io
import os
import pstats
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter, process_time

from pydantic import JsonValue
from redis.asyncio import Redis

from benchmarks.figures import Bar, Figures, Report, cpu_s, medians
from benchmarks.stack import Process, Stack, embedded
from benchmarks.writers import Writer, open_writers
from runcast_events.ids import DEFAULT_TENANT
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_events.publisher import Publisher, PublisherLimits
from runcast_events.redis import connect
from runcast_local.store import Program, find_program
from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import Queue
from runcast_tasks.record import Records, TaskRecord
from runcast_tasks.submit import NewTask, submit

ROUNDS = 3
EVENTS = 50_000
"""Of a publisher, a round."""
WORKER_EVENTS = 200_000
DELTA_BYTES = 60
BATCH = PublisherLimits().batch_events
TURN = 64
"""A worker lets its loop turn after so many events, and so does this producer."""
TASKS_S = 60.0
BAR = 40_000

SUBMITTED, BEGUN = 3, 2
"""Events of a log before the first output: of the submit, and of the attempt."""

Produce = Callable[[Redis, Writer], Awaitable[tuple[str, int]]]
"""Returns the stream it wrote, and how long that has to be."""


def run() -> Report:
    report = Report("append")
    found = find_program({"PATH": os.environ.get("PATH", "")})
    for program in {program.path: program for program in (found, embedded()) if program}.values():
        _alone(report, program)
    with Stack() as stack:
        store = stack.store(found)
        worker = stack.worker()
        cases = {f"worker, {n} task{'s' * (n > 1)}": n for n in (1, 4)}
        rounds = [
            {case: asyncio.run(_worker(stack, worker, store, tasks)) for case, tasks in cases.items()}
            for _ in range(ROUNDS)
        ]
        for case in cases:
            figures = medians([each[case] for each in rounds])
            report.add(f"{case}, {found.path.name}", figures)
            _judge(report, case, figures, _profiled_worker)
    report.notes.append(
        f"payloads of 250 B; of the worker, which adds {DELTA_BYTES} characters an event, of about 220 B"
    )
    report.notes.append(f"batches of at most {BATCH}, one in flight; store with appendonly, on a core of its own")
    return report


def _judge(report: Report, case: str, figures: Figures, profile: Callable[[], str]) -> None:
    rate = figures["events/s"]
    report.bars.append(Bar(f"{case}: {rate:,.0f} events/s >= {BAR:,}", rate >= BAR))
    if rate < BAR:
        report.notes.append(f"{case}: where its time goes:\n\n{profile()}")


# --- a publisher alone -----------------------------------------------------------------------------------------------


def _alone(report: Report, program: Program) -> None:
    """This process is the producer: on the first core, the store on the second."""
    where = f"{program.path.name} {program.version}"
    with Stack() as stack:
        store = stack.store(program)
        stack.move_here()
        rounds = [[asyncio.run(_produce(stack, store, how)) for how in (_publish, _xadd)] for _ in range(ROUNDS)]
        ours, plain = (medians(figures) for figures in zip(*rounds, strict=True))
        report.add(f"publisher, {where}", ours)
        report.add(f"pipelined XADD, {where}", plain)
        share = ours["events/s"] / plain["events/s"]
        cost = ours["store CPU us/event"] / plain["store CPU us/event"]
        report.notes.append(
            f"{where}: fence, ids, state and publication leave {share:.2f} of plain XADD's rate and cost "
            f"{cost:.1f} times its store CPU"
        )
        _judge(
            report,
            f"publisher, {where}",
            ours,
            lambda: _profiled(lambda: asyncio.run(_produce(stack, store, _publish))),
        )


async def _produce(stack: Stack, store: Process, how: Produce) -> Figures:
    redis = connect(stack.redis_url, "bench")
    await redis.flushall()
    (writer,) = await open_writers(redis, EventLog(redis), ["append"])
    began, own_s, store_s = perf_counter(), process_time(), cpu_s(store.pid)
    key, events = await how(redis, writer)
    wall_s, own_s, store_s = perf_counter() - began, process_time() - own_s, cpu_s(store.pid) - store_s
    length = await redis.xlen(key)
    await redis.aclose()
    if length != events:
        raise ValueError(f"{length} events in the log: expected {events}")
    return _figures(EVENTS, wall_s, own_s, store_s)


async def _publish(redis: Redis, writer: Writer) -> tuple[str, int]:
    async with Publisher(EventLog(redis), writer.hold, writer.envelope) as publisher:
        for event in writer.begin("bench"):
            await publisher.publish(event)
        for index in range(EVENTS):
            await publisher.publish(writer.output(str(index)))
            if index % TURN == 0:
                await asyncio.sleep(0)
    return writer.hold.keys.events, EVENTS + SUBMITTED + BEGUN


async def _xadd(redis: Redis, writer: Writer) -> tuple[str, int]:
    """What is least: the same payloads, encoded in the same way, each with its type, in pipelines of a batch's size."""
    for first in range(0, EVENTS, BATCH):
        pipe = redis.pipeline(transaction=False)
        for index in range(first, min(first + BATCH, EVENTS)):
            event = writer.output(str(index))
            pipe.execute_command("XADD", "plain", "*", "t", event.type, "p", event.payload)
        await pipe.execute()
    return "plain", EVENTS


def _figures(events: int, wall_s: float, own_s: float, store_s: float) -> Figures:
    return {
        "events/s": events / wall_s,
        "CPU us/event": own_s / events * 1e6,
        "store CPU us/event": store_s / events * 1e6,
    }


# --- a worker --------------------------------------------------------------------------------------------------------


async def _worker(stack: Stack, worker: Process, store: Process, tasks: int) -> Figures:
    """From the first `task_started` to the last terminal event, by the log's own times."""
    redis = connect(stack.redis_url, "bench")
    own_s, store_s = cpu_s(worker.pid), cpu_s(store.pid)
    records = await _play(redis, tasks)
    own_s, store_s = cpu_s(worker.pid) - own_s, cpu_s(store.pid) - store_s
    await redis.delete(*[key async for key in redis.scan_iter("*{*}*", count=1000)])
    await redis.aclose()
    events = sum(record.terminal_id.n for record in records if record.terminal_id)
    started = min(record.started_at or 0 for record in records)
    ended = max(record.ended_at or 0 for record in records)
    return _figures(events, (ended - started) / 1000, own_s, store_s)


async def _play(redis: Redis, tasks: int) -> list[TaskRecord]:
    keyspace, log, queue = Keyspace(), EventLog(redis), Queue(redis, QueueKeys())
    params: dict[str, JsonValue] = {"count": WORKER_EVENTS // tasks, "rate": 0, "bytes": DELTA_BYTES}
    receipts = [
        await submit(log, queue, keyspace, DEFAULT_TENANT, NewTask("play", "script", f"w{index}", params=params))
        for index in range(tasks)
    ]
    reader = Records(redis, keyspace, DEFAULT_TENANT)
    async with asyncio.timeout(TASKS_S):
        while True:
            records = [await reader.task(receipt.task_id) for receipt in receipts]
            if all(record.ended_at for record in records):
                break
            await asyncio.sleep(0.1)
    assert all(record.state == "complete" for record in records), [record.outcome for record in records]
    return records


# --- profiles, where the bar is missed -------------------------------------------------------------------------------


def _profiled(work: Callable[[], object]) -> str:
    profile = cProfile.Profile()
    profile.runcall(work)
    return _top(pstats.Stats(profile))


def _profiled_worker() -> str:
    with tempfile.TemporaryDirectory() as folder, Stack() as stack:
        store = stack.store()
        path = Path(folder) / "worker.profile"
        worker = stack.worker("-m", "cProfile", "-o", str(path), "-m", "runcast_worker")
        asyncio.run(_worker(stack, worker, store, 1))
        worker.end()
        return _top(pstats.Stats(str(path)))


def _top(stats: pstats.Stats) -> str:
    text = io.StringIO()
    stats.stream = text  # type: ignore[attr-defined]
    stats.strip_dirs().sort_stats("tottime").print_stats(15)
    lines = text.getvalue().splitlines()
    start = next(index for index, line in enumerate(lines) if "ncalls" in line)
    return "\n".join(f"    {line}" for line in lines[start:] if line.strip())
