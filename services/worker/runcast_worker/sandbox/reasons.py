"""Why a command was killed, in words for whoever asked for it. Pure."""

_LIMITS = {"memory": "memory_mb", "processes": "processes", "disk": "disk_mb", "cpu": "cpu_s"}


def why_killed(killed: str) -> str:
    """Of a Child's `killed`."""
    limit = _LIMITS.get(killed)
    return "its guard was killed" if limit is None else f"it reached its sandbox's limit {limit}"
