"""What a test has done to tasks and sessions, and what it has seen of them."""

from dataclasses import dataclass, field
from typing import Literal

from runcast_events.entry import Entry
from tests.commands.stage import Plan
from tests.commands.story import Story


@dataclass
class Told:
    """What was done to one task. `inputs`: accepted texts. `taken`: how often it was taken from its worker.
    `cancelling`: it was asked to end. `pause`: whether it was asked to pause, and has not; `overruled` by a resume:
    then it may pause, since it was about to, but goes on by itself; `maybe`: nobody knows what came first. `begun`:
    iterations that began since it was asked; None: it was not held then."""

    mark: str
    agent: str
    plan: Plan
    inputs: list[str] = field(default_factory=list)
    taken: int = 0
    cancelling: bool = False
    pause: Literal["no", "wanted", "overruled", "maybe"] = "no"
    begun: int | None = None


@dataclass
class Session:
    """`order`: its tasks in the order in which they are to start. `held`: its tasks go as the machine lets them."""

    id: str
    held: bool
    order: list[str] = field(default_factory=list)
    log: list[Entry] = field(default_factory=list)
    story: Story = field(default_factory=Story)
    rested: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By paused task: how many requests its model and the pages had got by then."""
