"""Tasks a second of one worker: tiny tasks of the script engine, each of a session of its own."""

import asyncio

from pydantic import JsonValue
from redis.asyncio import Redis

from benchmarks.figures import Bar, Report, cpu_s, medians
from benchmarks.stack import Process, Stack
from runcast_events.ids import DEFAULT_TENANT
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_events.redis import connect
from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import Queue
from runcast_tasks.record import Records, TaskRecord
from runcast_tasks.submit import NewTask, submit

ROUNDS = 5
TASKS = 400
JOBS = (10, 100)
"""Tasks at a time, RUNCAST_MAX_JOBS."""
WARM = 20
SUBMITTERS = 16
ENDED_S = 60.0
PARAMS: dict[str, JsonValue] = {"count": 1, "bytes": 8}


def run() -> Report:
    report = Report("tasks")
    complete = True
    for jobs in JOBS:
        with Stack(max_jobs=str(jobs)) as stack:
            store, worker = stack.store(), stack.worker()
            asyncio.run(_round(stack, worker, store, WARM))
            rounds = [asyncio.run(_round(stack, worker, store, TASKS)) for _ in range(ROUNDS)]
        complete = complete and all(figures.pop("not complete") == 0 for figures in rounds)
        report.add(f"{TASKS} tasks, {jobs} at a time", medians(rounds))
    report.bars.append(Bar("every task is complete, at its first attempt", complete, correct=True))
    report.notes.append(
        f"medians of {ROUNDS}; tasks are submitted by {SUBMITTERS} at a time while the worker runs them"
    )
    report.notes.append("from the first task_queued to the last terminal event, by the log's own times")
    return report


async def _round(stack: Stack, worker: Process, store: Process, tasks: int) -> dict[str, float]:
    redis = connect(stack.redis_url, "bench", max_connections=SUBMITTERS + 4)
    worker_s, store_s = cpu_s(worker.pid), cpu_s(store.pid)
    records = await play(redis, [NewTask("play", "script", f"t{n}", params=PARAMS) for n in range(tasks)], ENDED_S)
    worker_s, store_s = cpu_s(worker.pid) - worker_s, cpu_s(store.pid) - store_s
    await redis.delete(*[key async for key in redis.scan_iter("*{*}*", count=1000)])
    await redis.aclose()
    wall_s = (max(each.ended_at or 0 for each in records) - min(each.created_at for each in records)) / 1000
    return {
        "tasks/s": tasks / wall_s,
        "worker CPU ms/task": worker_s / tasks * 1000,
        "store CPU ms/task": store_s / tasks * 1000,
        "worker cores": worker_s / wall_s,
        "not complete": sum(each.state != "complete" or each.attempt != 1 for each in records),
    }


async def play(redis: Redis, tasks: list[NewTask], ended_s: float) -> list[TaskRecord]:
    """Submit them, some at a time, and wait for their ends."""
    keyspace, log, queue = Keyspace(), EventLog(redis), Queue(redis, QueueKeys())
    turns = asyncio.Semaphore(SUBMITTERS)

    async def give(task: NewTask) -> str:
        async with turns:
            return (await submit(log, queue, keyspace, DEFAULT_TENANT, task)).task_id

    task_ids = await asyncio.gather(*map(give, tasks))
    reader = Records(redis, keyspace, DEFAULT_TENANT)
    waiting, records = list(task_ids), dict[str, TaskRecord]()
    async with asyncio.timeout(ended_s):
        while waiting:
            records[waiting[-1]] = await reader.task(waiting[-1])
            if records[waiting[-1]].ended_at:
                waiting.pop()
            else:
                await asyncio.sleep(0.05)
    return list(records.values())
