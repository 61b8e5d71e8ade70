"""What an agent of the python engine is written with. Stable; docs/engines.md shows it in use.

from collections.abc import AsyncIterator
from runcast_worker.python import Say, Step, Task

async def run(task: Task) -> AsyncIterator[Step]:
    yield Say(f"You asked: {task.prompt}")
"""

from runcast_events.events import (
    Phase,
    PhaseComplete,
    PhaseStart,
    PlanCreated,
    Progress,
    TaskAnalysis,
    Todo,
    TodosUpdated,
)
from runcast_tasks.conversation import Message
from runcast_worker.engines import EngineError
from runcast_worker.engines.python.steps import NextIteration, Say, Step, Think, ToolEnded, ToolStarted, Used
from runcast_worker.engines.python.task import Offer, Task
from runcast_worker.tools import ToolFailed

__all__ = [
    "EngineError",
    "Message",
    "NextIteration",
    "Offer",
    "Phase",
    "PhaseComplete",
    "PhaseStart",
    "PlanCreated",
    "Progress",
    "Say",
    "Step",
    "Task",
    "TaskAnalysis",
    "Think",
    "Todo",
    "TodosUpdated",
    "ToolEnded",
    "ToolFailed",
    "ToolStarted",
    "Used",
]
