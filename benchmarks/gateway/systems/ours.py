"""Our gateway, as it is deployed: with metrics, heartbeats and everything, fed by the product's append script."""

import asyncio
import json
from pathlib import Path
from typing import cast
from urllib.request import urlopen

import hiredis
from redis.asyncio import Redis
from redis.typing import EncodableT

from benchmarks.gateway.plan import SessionPlan, session_name, stamp
from benchmarks.gateway.systems.system import Running
from benchmarks.gateway.workloads import Workload
from benchmarks.stack import LOOPBACK, Stack
from benchmarks.writers import Writer, open_writers
from runcast_events.log import EventLog
from runcast_events.redis import connect

SEQUENCE = 10**15
"""Stands for the sequence in a recorded append."""


class Ours:
    name = "ours"
    module = "runcast_gateway"

    def cannot(self, workload: Workload) -> str:
        return ""

    def start(self, stack: Stack, workload: Workload, programs: Path) -> Running:
        store = stack.store()
        ports, pids = [], []
        for number in range(workload.gateways):
            pids.append(stack.gateway(f"gateway-{number}", self.module).pid)
            ports.append(stack.gateway_port)
        if workload.mode == "idle":
            plans, cursor, sequence = [SessionPlan(_path(index)) for index in range(workload.sessions)], "", 0
        else:
            plans, cursor, sequence = asyncio.run(_written(stack.redis_url, workload))
        return Running(
            ports,
            pids,
            plans,
            publish_port=int(stack.redis_url.rpartition(":")[2].partition("/")[0]),
            acknowledged="OK",
            store_pids=(store.pid,),
            greeting="connected",
            cursor=cursor,
            first_sequence=sequence,
            open_streams=lambda: sum(map(_open_streams, ports)),
        )


class Unobserved(Ours):
    """Ours, counting nothing: unobserved_gateway.py."""

    name = "unobserved"
    module = "benchmarks.gateway.systems.unobserved_gateway"

    def cannot(self, workload: Workload) -> str:
        return "" if workload.name in ("W1", "W2") else "what observing costs is asked of W1 and W2"


class _Recorder:
    """Stands in for a client of the store: keeps the command of an append instead of sending it."""

    def __init__(self) -> None:
        self.command = b""

    async def execute_command(self, *command: EncodableT) -> object:
        self.command = hiredis.pack_command(command)
        return [b"OK", b"1-1", b"1-1", b"0", b"", b"0"]


async def _written(redis_url: str, workload: Workload) -> tuple[list[SessionPlan], str, int]:
    """Sessions with an attempt each, whose next events the load client appends: their plans, the cursor of the first,
    and the sequence of the next event."""
    redis, recorder = connect(redis_url, "bench"), _Recorder()
    log, recorded = EventLog(redis), EventLog(cast(Redis, recorder))
    plans, cursor, sequence = [], "", 0
    for index, writer in enumerate(await open_writers(redis, log, list(map(session_name, range(workload.sessions))))):
        begun = writer.begin("bench")
        appended = await log.append(writer.hold, 1, begun)
        cursor, sequence = cursor or str(appended.last), len(begun) + 1
        plans.append(await _plan(recorded, recorder, writer, index, "" if workload.missed else "latest"))
    await redis.aclose()
    return plans, cursor, sequence


async def _plan(log: EventLog, recorder: _Recorder, writer: Writer, index: int, cursor: str) -> SessionPlan:
    event = writer.output(stamp(index))
    await log.append(writer.hold, SEQUENCE, [event])
    argument = b"$%d\r\n%d\r\n" % (len(str(SEQUENCE)), SEQUENCE)
    head, _, tail = recorder.command.partition(argument)
    return SessionPlan(_path(index, cursor), event.payload, head, tail)


def _open_streams(port: int) -> int:
    with urlopen(f"http://{LOOPBACK}:{port}/stream/stats", timeout=5) as answer:
        return int(json.load(answer)["connections"])


def _path(index: int, cursor: str = "") -> str:
    return f"/stream/sessions/{session_name(index)}" + (f"?last_event_id={cursor}" if cursor else "")
