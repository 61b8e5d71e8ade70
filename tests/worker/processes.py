"""Looking at processes. A pid does not do: in a sandbox it is that of another namespace."""

import secrets
from pathlib import Path


def new_mark() -> str:
    """Seconds to sleep, unlike any other's: `sleep <mark>` is then found by `alive`."""
    return f"100.{secrets.randbelow(10**9):09}"


def alive(mark: str) -> list[str]:
    """Processes that have the mark among their arguments and still run; what only waits to be reaped has none."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if mark in words:
                found.append(entry.name)
    return found
