"""The worker's own secrets, kept from processes of the same user."""

from runcast_worker.guard import kernel


def hide() -> None:
    """Other processes of this user can no longer read this one's environment, memory and descriptors (/proc), nor
    trace it. Root with its capabilities can."""
    kernel.undumpable()
