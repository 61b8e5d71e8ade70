"""Clients that have said that they will send no more: gone, or only silent?

shutdown(SHUT_WR) and close() look the same until something is written; the machine of one that is gone then answers
with a reset. A transport that has come to the end of its input does not read, and would hear of that at its next write.
"""

import select
from collections.abc import Iterable

GONE = select.POLLHUP | select.POLLERR


def reset(files: Iterable[int]) -> set[int]:
    """Those of these sockets whose peer has said that nobody is there, or that are closed already. One system call."""
    poll = select.poll()
    for file in files:
        poll.register(file, 0)
    return {file for file, event in poll.poll(0) if event & (GONE | select.POLLNVAL)}
