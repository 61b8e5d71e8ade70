"""Every key of the queue store. Nothing here is a guarantee: losing all of it loses no task.

arq's own keys (`arq:*`) cannot be prefixed; deployments that share a server use different database numbers.
"""

from dataclasses import dataclass

from runcast_events.keys import DEFAULT_PREFIX


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one deployment's queue store."""

    prefix: str = DEFAULT_PREFIX

    @property
    def arq(self) -> str:
        """Sorted set: arq's queue of rings. A claimed ring is removed at once."""
        return f"{self.prefix}rings"

    @property
    def wake(self) -> str:
        """Pub/Sub channel: one message a ring, so that an idle worker starts in milliseconds."""
        return f"{self.prefix}wake"

    @property
    def due(self) -> str:
        """Sorted set `<tenant>/<task id>` by the ms when somebody should look after it: the reaper's hint."""
        return f"{self.prefix}due"

    @property
    def counted(self) -> str:
        """String: the run id of the server that was last told of everything, see census.py. Without it all is lost."""
        return f"{self.prefix}counted"

    @property
    def census(self) -> str:
        """String with a TTL: who finds everything again (census.py)."""
        return f"{self.prefix}census"

    def unclear(self, task_id: str) -> str:
        """String with a TTL: the fence of an attempt of which no reaper can tell whether its worker vanished."""
        return f"{self.prefix}unclear:{task_id}"

    def sessions(self, tenant: str) -> str:
        """Sorted set: session ids by the ms of their last submit. Those of expired sessions go when listed or drawn."""
        return f"{self.prefix}index:{tenant}:sessions"

    def tasks(self, tenant: str) -> str:
        """Sorted set: task ids by the ms of their submit. Those of expired sessions go when listed or drawn."""
        return f"{self.prefix}index:{tenant}:tasks"
