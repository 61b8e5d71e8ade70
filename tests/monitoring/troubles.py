"""What can go wrong, made to happen, and what the first commands of the runbooks must then show."""

import asyncio
import resource
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from runcast_events.redis import connect
from tests.conftest import wait_until
from tests.monitoring.deployment import Deployment
from tests.monitoring.overlay import SCRAPE_S
from tests.monitoring.traffic import UNKNOWN, Traffic

Make = Callable[[Deployment, Traffic], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Trouble:
    """`make` brings it about, and may go on until it is cancelled. `shows`: by alert, what its first command has to
    say, as an expression. `settings`, `proxied`, `programs`: of the deployment."""

    make: Make
    shows: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    proxied: Collection[str] = ()
    programs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.make.__name__


async def a_worker_is_killed_and_then_the_other(deployment: Deployment, traffic: Traffic) -> None:
    for number in range(8):
        await traffic.outputs(60, 20, session=f"long-{number}")
    await asyncio.sleep(2)
    deployment.workers[0].kill()
    await wait_until(_fired(deployment, "RuncastWorkerVanished", "RuncastProcessDown"), 60)
    deployment.workers[1].kill()
    await traffic.submit("demo")


async def all_gateways_are_killed(deployment: Deployment, _: Traffic) -> None:
    for gateway in deployment.gateways:
        gateway.kill()


async def a_gateway_dies_again_and_again(deployment: Deployment, _: Traffic) -> None:
    gateway = deployment.gateways[0]
    while True:
        await wait_until(gateway.serves, 20)
        await asyncio.sleep(SCRAPE_S)  # Prometheus has to have seen each of them
        gateway.kill()
        gateway.start()


async def the_store_is_killed(deployment: Deployment, traffic: Traffic) -> None:
    deployment.store.kill()
    while True:
        await traffic.submit("demo")


async def the_api_is_killed(deployment: Deployment, _: Traffic) -> None:
    deployment.api.kill()


async def clients_are_too_many_and_come_too_late(deployment: Deployment, traffic: Traffic) -> None:
    await traffic.outputs(2, session="s")
    for _ in range(12):
        traffic.follow("s")
    while True:
        await traffic.look("s", UNKNOWN, deployment.gateways[1])


async def clients_ask_for_what_there_is_not(_: Deployment, traffic: Traffic) -> None:
    while True:
        await traffic.submit("nobody")
        await asyncio.sleep(0.2)


async def clients_send_their_bodies_late(_: Deployment, traffic: Traffic) -> None:
    while True:
        await asyncio.gather(*(traffic.submit_late() for _ in range(3)))


async def a_model_refuses_its_key_and_another_one_costs(_: Deployment, traffic: Traffic) -> None:
    while True:
        await traffic.submit("llm", task="Say something", model="stub-401")
        await traffic.submit("llm", task="Say something")
        await asyncio.sleep(0.5)


async def a_gateway_is_held_up(deployment: Deployment, traffic: Traffic) -> None:
    """Not for as long as Prometheus waits for it."""
    await traffic.outputs(120, 50, session="s")
    traffic.follow("s")
    await _in_pulses(deployment.gateways[0].signal, away_s=1.3, there_s=0.5)


async def a_store_is_slow(deployment: Deployment, traffic: Traffic) -> None:
    process = deployment.store.process
    assert process is not None
    for number in range(3):
        await traffic.outputs(120, 50, session=f"s{number}")
    await _in_pulses(process.send_signal, away_s=0.5, there_s=0.3)


async def files_run_out(deployment: Deployment, _: Traffic) -> None:
    """The limit comes down to what is open."""
    pid = deployment.gateways[0].pid
    await asyncio.sleep(1)
    used = await deployment.prometheus.ask(f'process_open_fds{{instance="127.0.0.1:{deployment.gateways[0].admin}"}}')
    limit = int(used[0].points[0][1] * 1.1) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))


async def the_store_fills_up(deployment: Deployment, traffic: Traffic) -> None:
    await traffic.outputs(3, 500, 2000)
    async with _client(deployment) as client:
        used = int((await client.info("memory"))["used_memory"])
        await client.config_set("maxmemory", str(int(used * 1.1)))


async def the_store_throws_away(deployment: Deployment, traffic: Traffic) -> None:
    async with _client(deployment) as client:
        await client.config_set("maxmemory-policy", "allkeys-random")
        used = int((await client.info("memory"))["used_memory"])
        await client.config_set("maxmemory", str(used + 200_000))
        while True:
            await traffic.submit(params={"count": 200, "rate": 200, "bytes": 2000})
            await asyncio.sleep(0.2)


async def the_stores_folder_is_gone(deployment: Deployment, _: Traffic) -> None:
    """So that it cannot write its file anew."""
    shutil.rmtree(deployment.store.data)
    async with _client(deployment) as client:
        with suppress(ResponseError):
            await client.bgrewriteaof()


async def no_replica_is_there(_: Deployment, traffic: Traffic) -> None:
    while True:
        await traffic.submit("demo")
        await asyncio.sleep(0.5)


async def the_store_is_restored_from_an_older_state(deployment: Deployment, traffic: Traffic) -> None:
    store, backup = deployment.store, deployment.folder / "backup"
    for number in range(3):
        await traffic.outputs(60, 50, session=f"s{number}")
        traffic.follow(f"s{number}")
    await asyncio.sleep(2)
    store.stop()
    shutil.copytree(store.data, backup)
    store.start()
    await asyncio.sleep(3)
    store.stop()
    shutil.rmtree(store.data)
    shutil.copytree(backup, store.data)
    store.start()


async def a_gateway_is_cut_off(deployment: Deployment, _: Traffic) -> None:
    deployment.proxies["gateway-1"].silent = True
    deployment.proxies["gateway-1"].cut()


async def a_worker_is_cut_off(deployment: Deployment, traffic: Traffic) -> None:
    proxy = deployment.proxies["worker-1"]
    while True:
        for _ in range(6):
            await traffic.outputs(8, 20)
        await asyncio.sleep(2)
        proxy.silent = True
        await asyncio.sleep(6)
        proxy.silent = False
        proxy.cut()


async def a_task_kills_its_workers(deployment: Deployment, traffic: Traffic) -> None:
    await traffic.accepted("deadly")
    while True:
        for worker in deployment.workers:
            if worker.ended:
                worker.start()
        await asyncio.sleep(0.1)


async def a_gateway_with_a_mistake_passes_over_events(_: Deployment, __: Traffic) -> None:
    """It is in what the gateway is run as."""


async def a_gateway_with_a_mistake_repeats_events(_: Deployment, __: Traffic) -> None:
    """It is in what the gateway is run as."""


def _seeded(what: str) -> tuple[str, ...]:
    """A gateway whose streams make a mistake before the audit sees them."""
    program = f"""
from runcast_gateway import audit
from runcast_gateway.__main__ import main
written, count = audit.Sink.write, 0
def write(self, data):
    global count
    if b"event: canary" in data:
        count += 1
        if count % 2:
            {what}
    written(self, data)
audit.Sink.write = write
main()
"""
    return (sys.executable, "-c", program)


async def _in_pulses(send: Callable[[signal.Signals], None], away_s: float, there_s: float) -> None:
    try:
        while True:
            send(signal.SIGSTOP)
            await asyncio.sleep(away_s)
            send(signal.SIGCONT)
            await asyncio.sleep(there_s)
    finally:
        send(signal.SIGCONT)


def _fired(deployment: Deployment, *names: str) -> Callable[[], Awaitable[bool]]:
    async def fired() -> bool:
        return all([await deployment.prometheus.has_fired(name) for name in names])

    return fired


@asynccontextmanager
async def _client(deployment: Deployment) -> AsyncIterator[Redis]:
    client = connect(deployment.store.url, "test")
    try:
        yield client
    finally:
        await client.aclose()


TROUBLES = (
    Trouble(
        a_worker_is_killed_and_then_the_other,
        {
            "RuncastWorkerVanished": r'job="worker"\} => 0',
            "RuncastProcessDown": r'job="worker"\} => 0',
            "RuncastNoWorkers": r'job="worker"\} => 0',
            "RuncastQueueOld": r"runcast_tasks_queued\{.*\} => [1-9](?s:.*)",
            "RuncastCanarySilent": r'up\{.*job="worker"\} => 0',
        },
    ),
    Trouble(all_gateways_are_killed, {"RuncastNoGateway": r'job="gateway"\} => 0'}),
    Trouble(a_gateway_dies_again_and_again, {"RuncastProcessRestarting": r'instance=".*", job="gateway"\} => [2-9]'}),
    Trouble(the_api_is_killed, {"RuncastNoApi": r'job="api"\} => 0'}),
    Trouble(
        the_store_is_killed,
        {
            "RuncastStoreDown": r"does not answer(?s:.*)redis_up\{.*\} => 0",
            "RuncastApiErrors": r'route="/api/tasks", status="503"\}',
        },
    ),
    Trouble(
        clients_are_too_many_and_come_too_late,
        {
            "RuncastStreamsNearLimit": r"runcast_streams\{.*\} => 8(?s:.*)runcast_streams_limit\{.*\} => 8",
            "RuncastStreamsRefused": r'reason="process_full"\} => [1-9]',
            "RuncastGaps": r'reason="unknown_cursor"\} => [1-9]',
        },
        {"max_streams": "8"},
    ),
    Trouble(clients_ask_for_what_there_is_not, {"RuncastTasksRejected": r'reason="unknown_agent"\} => [1-9]'}),
    Trouble(clients_send_their_bodies_late, {"RuncastSubmitSlow": r'job="api"\} => 0\.0'}),
    Trouble(
        a_model_refuses_its_key_and_another_one_costs,
        {
            "RuncastModelErrors": r'model="stub-401", outcome="model_auth"\} => [1-9]',
            "RuncastTasksFailing": r'model="stub-401", outcome="model_auth"\} => [1-9]',
            "RuncastCostHigh": r'model="gpt-4.1-mini"\} => 0\.0|model="gpt-4.1-mini"\} => [0-9.]+e-',
        },
    ),
    Trouble(
        a_gateway_is_held_up,
        {"RuncastLoopLag": r'job="gateway"\}', "RuncastDeliverySlow": r'instance=".*"\} => (0\.[1-9]|[1-9])'},
    ),
    Trouble(a_store_is_slow, {"RuncastAppendSlow": r'cmd="evalsha"\} => '}),
    Trouble(files_run_out, {"RuncastFilesNearLimit": r"process_max_fds\{.*\} => [0-9]{2}\b"}),
    Trouble(the_store_fills_up, {"RuncastStoreMemory": r"redis_memory_max_bytes\{.*\} => "}),
    Trouble(the_store_throws_away, {"RuncastStoreEvicts": r'maxmemory_policy="allkeys-random"'}),
    Trouble(the_stores_folder_is_gone, {"RuncastStoreDiskFailing": r"redis_aof_last_bgrewrite_status\{.*\} => 0"}),
    Trouble(no_replica_is_there, {"RuncastReplicasLate": r"redis_connected_slaves\{.*\} => 0"}, {"replica_acks": "1"}),
    Trouble(
        the_store_is_restored_from_an_older_state,
        {"RuncastLogRewound": r"redis_uptime_in_seconds\{.*\} => [0-9]{1,2}\b(?s:.*)runcast_log_rewinds_total"},
    ),
    Trouble(
        a_gateway_is_cut_off,
        {"RuncastGatewayCutOff": r"subscriber_connected\{.*\} => 0"},
        proxied=("gateway-1",),
    ),
    Trouble(
        a_worker_is_cut_off,
        {"RuncastLeasesLost": r"instance=.*\} => "},
        {"max_jobs": "2"},  # else the one with the shorter way to the store takes all
        proxied=("worker-1",),
    ),
    Trouble(a_task_kills_its_workers, {"RuncastTaskPoisoned": r'job="worker"\} => [0-9]'}),
    Trouble(
        a_gateway_with_a_mistake_passes_over_events,
        {"RuncastEventsLost": r"runcast_events_lost_total\{.*\} => [1-9]"},
        programs={"gateway-0": _seeded("return")},
    ),
    Trouble(
        a_gateway_with_a_mistake_repeats_events,
        {"RuncastEventsRepeated": r"runcast_events_repeated_total\{.*\} => [1-9]"},
        programs={"gateway-0": _seeded("written(self, data)")},
    ),
)
