"""Looking at processes: which of a group are alive."""

from pathlib import Path


def alive(group: int) -> list[str]:
    """Processes of a process group that still run; one that only waits to be reaped does not."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, IndexError):
            continue
        if entry.name.isdigit() and int(fields[2]) == group and fields[0] != "Z":
            found.append(entry.name)
    return found
