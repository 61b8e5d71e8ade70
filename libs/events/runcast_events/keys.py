"""Every key of the events store, and how long it lives.

All keys of a session carry the tag `{tenant:session}`, so that one script touches one slot. None has a TTL while the
session has a live task; when the last one ends they expire together (RUNCAST_SESSION_TTL_S).
"""

from dataclasses import dataclass

DEFAULT_PREFIX = "runcast:"


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of one session. Build with `Keyspace.session`."""

    base: str

    @property
    def events(self) -> str:
        """Stream: the event log. Its name is also the Pub/Sub channel of its publications."""
        return f"{self.base}:events"

    @property
    def meta(self) -> str:
        """Hash: epoch, n, writer, bytes, trimmed, at, fence, expires, deleted. The log's counters and its tombstone."""
        return f"{self.base}:meta"

    @property
    def session(self) -> str:
        """Hash: what a user sees of the session (created_at, title)."""
        return f"{self.base}:session"

    @property
    def messages(self) -> str:
        """List of JSON objects: the conversation, whole."""
        return f"{self.base}:messages"

    @property
    def queue(self) -> str:
        """List of task ids: the live tasks, holder first. Empty means that the session is at rest."""
        return f"{self.base}:queue"

    @property
    def tasks(self) -> str:
        """List of task ids: all tasks, oldest first."""
        return f"{self.base}:tasks"

    def task(self, task_id: str) -> str:
        """Hash: the task's record. The scripts build this name from `tasks`: keep the two together."""
        return f"{self.base}:tasks:{task_id}"

    @property
    def lease(self) -> str:
        """String `<task>|<fence>` with a TTL of its own: how long the holder is believed."""
        return f"{self.base}:lease"

    def checkpoint(self, task_id: str) -> str:
        """String: where an attempt can go on from. Deleted with the terminal event, like the next two."""
        return f"{self.base}:checkpoint:{task_id}"

    def journal(self, task_id: str) -> str:
        """Hash: what the task's tool calls came to."""
        return f"{self.base}:journal:{task_id}"

    def control(self, task_id: str) -> str:
        """Hash kind -> JSON: the control requests that wait for the running attempt."""
        return f"{self.base}:control:{task_id}"

    @property
    def outputs(self) -> str:
        """Hash: `bytes` (of all outputs), and per output, by `<task>:<call>`, who wrote it: see outputs.lua."""
        return f"{self.base}:outputs"

    def output(self, task_id: str, call_id: str) -> str:
        """String: what one tool call came to, whole. The scripts build this name from `outputs` and its fields."""
        return f"{self.base}:outputs:{task_id}:{call_id}"

    def operation(self, operation: str) -> str:
        """String: the answer one control operation got, kept an hour for its retries."""
        return f"{self.base}:operation:{operation}"


@dataclass(frozen=True, slots=True)
class Keyspace:
    """All keys of one deployment. `prefix` also keeps the Pub/Sub channels of two deployments on one server apart."""

    prefix: str = DEFAULT_PREFIX

    @property
    def control(self) -> str:
        """Channel: `<tenant>/<task>` for each control request that was left for a running attempt."""
        return f"{self.prefix}control"

    @property
    def canary(self) -> str:
        """String with a TTL: which worker's turn it is to append canaries."""
        return f"{self.prefix}canary"

    def session(self, tenant: str, session_id: str) -> SessionKeys:
        return SessionKeys(f"{self.prefix}{{{tenant}:{session_id}}}")
