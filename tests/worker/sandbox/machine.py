"""What this machine has: tiers of the sandbox, and processes that a command left."""

import asyncio
from pathlib import Path

from runcast_worker.sandbox import SandboxMissing, Tier, find_sandbox


def _tiers() -> tuple[Tier, ...]:
    try:
        asyncio.run(find_sandbox("required"))
    except SandboxMissing:
        return ("reduced",)
    return ("bubblewrap", "reduced")


TIERS = _tiers()


def remains(workspace: Path, mark: str | None = None) -> list[str]:
    """Processes that live, and are of this workspace by their environment, their folder, or a `mark` in their words."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX":
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            environ = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            marked = mark is not None and mark in words
            if marked or f"HOME={workspace}" in environ or (entry / "cwd").readlink() == workspace:
                found.append(words.replace("\0", " "))
        except OSError:
            continue
    return found
