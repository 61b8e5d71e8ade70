"""CPU for a streamed delta, from the model's socket to the log: a worker with an llm agent; beside it the openai
client alone, pydantic-ai's model alone, on which the engine is built, and pydantic-ai's agent, on the same stream."""

import asyncio
import json
import subprocess
import sys
from statistics import median

from redis.asyncio import Redis

from benchmarks.figures import Bar, Report, cpu_s, medians
from benchmarks.readers import READERS
from benchmarks.stack import LOOPBACK, Process, Stack
from benchmarks.tasks import play
from runcast_events.ids import DEFAULT_TENANT, START
from runcast_events.keys import Keyspace
from runcast_events.reader import LogReader
from runcast_events.redis import connect
from runcast_local.store import free_port
from runcast_tasks.submit import NewTask

ROUNDS = 5
STREAMS = 5
DELTAS = 4000
MODEL = f"stub-flood-{DELTAS}"
AGENTS = f'[agents.llm]\nengine = "llm"\nmodel = "{MODEL}"\ntools = []\n'
WORD = "flood "
"""What the stub says in each delta."""
READ_S = 120.0


def run() -> Report:
    report = Report("model")
    port = free_port()
    base_url = f"http://{LOOPBACK}:{port}/v1"
    with Stack(agents=AGENTS, llm_base_url=base_url) as stack:
        stack.store()
        stack.model(port)
        worker = stack.worker()
        asyncio.run(_worker(stack, worker, 1))  # imports and connections
        rounds = [
            {"worker": asyncio.run(_worker(stack, worker, STREAMS)), **{how: _reader(how, base_url) for how in READERS}}
            for _ in range(ROUNDS)
        ]
    whole = all(figures.pop("missing") == 0 for each in rounds for figures in each.values())
    for case in rounds[0]:
        report.add(case, medians([each[case] for each in rounds]))
    for how in READERS:
        ratios = [each["worker"]["CPU us/delta"] / each[how]["CPU us/delta"] for each in rounds]
        shown = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        report.notes.append(f"the worker takes {shown} times the CPU of {how} alone, round by round")
    report.bars.append(Bar("every character of every answer is in the log", whole, correct=True))
    report.notes.append(f"{ROUNDS} rounds in turns, each {STREAMS} answers of {DELTAS} deltas at the stub's full speed")
    return report


async def _worker(stack: Stack, worker: Process, streams: int) -> dict[str, float]:
    """One task after the other, as the readers read."""
    redis = connect(stack.redis_url, "bench")
    used_s, wall_s, missing, events = 0.0, 0.0, 0.0, 0
    for number in range(streams):
        before = cpu_s(worker.pid)
        (record,) = await play(redis, [NewTask("go", "llm", f"m{number}")], READ_S)
        used_s += cpu_s(worker.pid) - before
        wall_s += ((record.ended_at or 0) - (record.started_at or 0)) / 1000
        assert record.state == "complete", record.outcome
        said, count = await _said(redis, f"m{number}")
        missing += DELTAS - said
        events += count
    await redis.delete(*[key async for key in redis.scan_iter("*{*}*", count=1000)])
    await redis.aclose()
    return _figures(DELTAS * streams, used_s, wall_s, missing) | {"deltas/event": DELTAS * streams / events}


async def _said(redis: Redis, session_id: str) -> tuple[float, int]:
    """How many deltas of the stub's are in the log, by their characters; and in how many events."""
    reader, keys = LogReader(redis), Keyspace().session(DEFAULT_TENANT, session_id)
    size, count, cursor = 0, 0, START
    while page := (await reader.page(keys, cursor, 1000)).entries:
        outputs = [json.loads(entry.payload)["delta"] for entry in page if entry.type == "output"]
        size, count, cursor = size + len("".join(outputs)), count + len(outputs), page[-1].id
    return size / len(WORD), count


def _reader(how: str, base_url: str) -> dict[str, float]:
    command = (sys.executable, "-m", "benchmarks.readers", how, base_url, MODEL, str(STREAMS))
    read = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=READ_S).stdout)
    return _figures(DELTAS * STREAMS, read["cpu_s"], read["wall_s"], DELTAS * STREAMS - read["characters"] / len(WORD))


def _figures(deltas: int, used_s: float, wall_s: float, missing: float) -> dict[str, float]:
    return {"CPU us/delta": used_s / deltas * 1e6, "deltas/s": deltas / wall_s, "missing": missing}
