"""How far a task and its processes may go."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator

from runcast_agents.table import TABLE


def _upto(most: int, least: int = 1) -> Any:
    """Bounds of a number: of what no machine has, so that what is beyond is a mistake, and no overflow later."""
    return Field(ge=least, le=most)


Seconds = Annotated[float, Field(gt=0, le=366 * 86400)]


class Limits(BaseModel):
    """What one task may take; beyond it the task fails, and its kind names the limit. Tokens and cost are counted over
    all its attempts, the others in each."""

    model_config = TABLE

    iterations: Annotated[int, _upto(10**6)] = 100
    tool_calls: Annotated[int, _upto(10**6)] = 500
    tokens: Annotated[int, _upto(10**12)] | None = None
    """Input and output added up, as the provider counts them."""
    cost_usd: Annotated[float, Field(gt=0, le=10**6)] | None = None
    """Where a price is known. A model without one never reaches it."""
    wall_time_s: Seconds = 3600.0


class SandboxPolicy(BaseModel):
    """What the processes of one call may take and reach."""

    model_config = TABLE

    network: bool = False
    """Leave the network open to them. Without bubblewrap it cannot be closed."""
    read: tuple[Path, ...] = ()
    """Files and folders of the host that they may read besides the system's own, absolute."""
    memory_mb: Annotated[int, _upto(10**7, 16)] = 2048
    processes: Annotated[int, _upto(10**5, 4)] = 128
    file_mb: Annotated[int, _upto(10**9)] = 256
    """The largest single file."""
    disk_mb: Annotated[int, _upto(10**9)] = 1024
    """The whole workspace."""
    cpu_s: Annotated[int, _upto(366 * 86400)] = 600
    """Processor time of one process."""

    @field_validator("read")
    @classmethod
    def _absolute(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        for path in paths:
            if not path.is_absolute():
                raise ValueError(f"{str(path)!r} is relative; expected an absolute path")
        return paths
