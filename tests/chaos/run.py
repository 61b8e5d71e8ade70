"""A run: planned tasks in flight on a fleet, a client that watches them, and afterwards its recording."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.attempts import entries
from tests.chaos.fleet import Fleet
from tests.chaos.plans import Planned, PlannedTask
from tests.chaos.recording import History
from tests.chaos.watcher import Watcher
from tests.conftest import wait_until
from tests.worker.conftest import Client

LEASE_S = 3.0


@dataclass
class Run:
    """`accepted`: the tasks, in the order in which they were."""

    client: Client
    fleet: Fleet
    watcher: Watcher
    planned: Planned
    workspaces: Path
    lease_s: float = LEASE_S
    accepted: list[str] = field(default_factory=list)

    async def submit(self, *plans: PlannedTask) -> None:
        """Of sessions that are watched already, or are new."""
        new = {plan.session_id for plan in plans} - self.watcher.seen.keys()
        await self.watcher.watch(sorted(new))
        for plan in plans:
            self.planned.tasks[plan.name] = plan
            task_id = await self.client.submit(plan.prompt, plan.session_id, plan.agent, **plan.params)
            self.planned.ids[plan.name] = task_id
            self.accepted.append(task_id)

    @property
    def in_flight(self) -> int:
        return sum(task not in self.watcher.ended for task in self.accepted)

    def held_by(self, worker: str) -> list[str]:
        return [task for task, holder in self.watcher.holders.items() if holder == worker]

    async def until(self, condition: Callable[[], bool], timeout_s: float, message: str) -> None:
        """A condition of what the watcher was shown."""
        await wait_until(condition, timeout_s, f"{message}; {self.in_flight} in flight, {len(self.fleet.up)} up")

    async def ended(self, timeout_s: float) -> History:
        """When all tasks have ended: the recording."""
        await self.until(lambda: not self.in_flight, timeout_s, "not all tasks ended")
        return await self.history()

    async def history(self) -> History:
        """The recording as it is by now."""
        logs = {session_id: await entries(self.client.redis, session_id) for session_id in self.watcher.seen}
        return History(
            logs,
            tuple(self.accepted),
            tuple(self.fleet.lost),
            self.fleet.lapsed,
            tuple(self.planned.requests),
            self.planned.effects(self.workspaces),
            self.watcher.seen,
            self.lease_s,
        )
