"""progress: how far the work is, as people see it."""

from typing import Annotated

from pydantic import Field, JsonValue

from runcast_events.events import Progress
from runcast_worker.tools import Arguments, Surroundings, Tell


class ProgressArguments(Arguments):
    percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    """Of the whole task, 0 to 100."""
    message: Annotated[str, Field(max_length=300)] | None = None
    """What is being done now, in a few words."""


class ProgressTool:
    """The result is a short acknowledgement."""

    name = "progress"
    description = "Tell people how far the task is. Use it now and then in long work, where no todo list says it."
    arguments = ProgressArguments
    changes = False

    async def call(self, arguments: ProgressArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        fields = arguments.model_dump(exclude_none=True)  # a message that is not set is left out of the event
        await tell.event(Progress.model_validate(fields))
        return "told"
