"""Alerts: a control request is heard of at once, also by an attempt that writes nothing for a while."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from runcast_events.keys import Keyspace
from runcast_events.subscriber import Subscriber


class Alerts:
    """Of one worker. An alert is a hint: whoever hears it looks, and looks now and then without one."""

    def __init__(self) -> None:
        # Several for one task: a fenced attempt may still be stopping while this worker runs the next one.
        self._hearing: defaultdict[bytes, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def hearing(self, tenant: str, task_id: str, told: asyncio.Event) -> Iterator[None]:
        """Have `told` set when a request is left for the task."""
        name = f"{tenant}/{task_id}".encode()
        self._hearing[name].add(told)
        try:
            yield
        finally:
            self._hearing[name].discard(told)
            if not self._hearing[name]:
                del self._hearing[name]

    def channel(self, url: str, name: str, keyspace: Keyspace) -> Subscriber:
        """Where they come from; its owner runs it. A new subscription alerts all: some may have been missed."""
        subscriber = Subscriber(url, name, lambda _channel, task: self._tell(task), lambda _channel: self._tell_all())
        subscriber.subscribe(keyspace.control.encode())
        return subscriber

    def _tell(self, task: bytes) -> None:
        for told in self._hearing.get(task, ()):
            told.set()

    def _tell_all(self) -> None:
        for hearing in self._hearing.values():
            for told in hearing:
                told.set()
