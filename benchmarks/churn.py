"""Clients that come, stay and go: connects a second, and what an idle connection costs."""

import asyncio
from time import monotonic

import httpx2
import uvloop

from benchmarks.figures import Bar, Figures, Report, cpu_s, medians, rss_kb
from benchmarks.load import Stream, open_streams
from benchmarks.stack import LOOPBACK, Process, Stack

CLIENTS = 1000
WARM = 50
ROUNDS = 3
SETTLE_S, IDLE_S, GONE_S = 0.5, 2.0, 10.0


def run() -> Report:
    report = Report("churn")
    rounds = [uvloop.run(_round()) for _ in range(ROUNDS)]
    report.add(f"{CLIENTS:,} clients, each of a session of its own", medians(rounds))
    gone = all(figures["left open"] == 0 for figures in rounds)
    report.bars.append(Bar("no stream stays open after its client is gone", gone, correct=True))
    report.notes.append(f"medians of {ROUNDS}, each with a new gateway process; a connect ends with the first frame")
    return report


async def _round() -> Figures:
    with Stack() as stack:
        stack.store()
        gateway = stack.gateway()
        async with httpx2.AsyncClient(base_url=f"http://{LOOPBACK}:{stack.gateway_port}", timeout=5) as client:
            await _open_and_close(stack, gateway, client, WARM)
            return await _open_and_close(stack, gateway, client, CLIENTS)


async def _open_and_close(stack: Stack, gateway: Process, client: httpx2.AsyncClient, clients: int) -> Figures:
    before_kb, before_s, began = rss_kb(gateway.pid), cpu_s(gateway.pid), monotonic()
    makers = [lambda index=index: Stream(f"/stream/sessions/c{index}") for index in range(clients)]
    streams = await open_streams(stack.gateway_port, makers)
    took_s, used_s = monotonic() - began, cpu_s(gateway.pid) - before_s
    await asyncio.sleep(SETTLE_S)
    kept_kb, idle_s, idle_from = rss_kb(gateway.pid) - before_kb, cpu_s(gateway.pid), monotonic()
    await asyncio.sleep(IDLE_S)
    idle_share = (cpu_s(gateway.pid) - idle_s) / (monotonic() - idle_from)
    for stream in streams:
        stream.close()
    return {
        "connects/s": clients / took_s,
        "gateway us/connect": used_s / clients * 1e6,
        "KB/connection": kept_kb / clients,
        "idle: % of a core": idle_share * 100,
        "left open": await _left(client),
    }


async def _left(client: httpx2.AsyncClient) -> int:
    """Streams that the gateway still counts, when they had time to go."""
    deadline = monotonic() + GONE_S
    while True:
        count = int((await client.get("/stream/stats")).json()["connections"])
        if count == 0 or monotonic() > deadline:
            return count
        await asyncio.sleep(0.05)
