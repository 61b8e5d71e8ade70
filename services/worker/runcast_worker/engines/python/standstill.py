"""Finding agent functions that block: while one holds the event loop, its worker renews no lease and is given up."""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LONG_S = 1.0
"""A loop that does not answer for this long stands still."""
SHOWN_FRAMES = 12


class StandstillWatch:
    """A thread beside the event loop, there only while a function runs, that logs where the loop stands still."""

    def __init__(self, long_s: float = LONG_S) -> None:
        self._long_s = long_s
        self._runs = 0
        self._over = threading.Event()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch the running loop. Several may be inside."""
        self._runs += 1
        if self._runs == 1:
            self._over = threading.Event()
            watched = (asyncio.get_running_loop(), threading.get_ident(), self._over)
            threading.Thread(target=self._watch, args=watched, name="standstill watch", daemon=True).start()
        try:
            yield
        finally:
            self._runs -= 1
            if not self._runs:
                self._over.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int, over: threading.Event) -> None:
        while not over.wait(self._long_s):
            answered = threading.Event()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # it is closed
                return
            if answered.wait(self._long_s):
                continue
            frame = sys._current_frames().get(thread)
            where = "" if frame is None else "".join(traceback.format_stack(frame)[-SHOWN_FRAMES:])
            logger.error(
                "the worker stands still for %g s, so its leases lapse: agent functions must not block, "
                "see asyncio.to_thread\n%s",
                self._long_s,
                where,
            )
            while not over.is_set() and not answered.wait(self._long_s):
                pass  # said once
