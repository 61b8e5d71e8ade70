"""The way of an attempt's events into the log: encoded, with what they change in the records."""

from collections.abc import Sequence

from runcast_events.codec import Envelope
from runcast_events.events import Event, IterationComplete, ToolCallComplete
from runcast_events.log import Write
from runcast_events.publisher import Publisher
from runcast_tasks.board import Board
from runcast_tasks.record import TaskRecord
from runcast_tasks.submit import message
from runcast_worker.attempt.transcript import Transcript
from runcast_worker.engines import Saved
from runcast_worker.toolbox.journal import CALL_EVENTS, Journal

Told = tuple[Event, Sequence[Write]]
"""An event, and what is written in the same step."""


class Writer:
    """Writes the events of one attempt, in order. `record`: of the task as it was claimed."""

    def __init__(self, publisher: Publisher, envelope: Envelope, record: TaskRecord) -> None:
        self._publisher, self._encode = publisher, envelope.encode
        self._task_id = record.id
        self.transcript = Transcript(record.usage, record.answer, record.iteration)
        self.board, self.journal = Board(), Journal()

    async def write(self, event: Event, writes: Sequence[Write] = ()) -> None:
        """Returns when the publisher has taken it. `writes`: besides those that follow from the event. What an earlier
        attempt wrote is not written again. Raises InvalidEvent, and what a Publisher raises."""
        if event.event_type in CALL_EVENTS:
            if self.journal.knows(event):
                self.transcript.see(event)
                return
            writes = (*writes, *self.journal.writes(event))
        await self._append((event, (*writes, *self.board.writes(event))))
        self.transcript.see(event)

    async def end(self, last: Event, writes: Sequence[Write], before: Sequence[Told] = ()) -> None:
        """Write the attempt's last event, and in one step with it what comes right `before`."""
        await self._append(*before, (last, writes))

    async def interrupt(self, event: Event) -> None:
        """Close something that another attempt takes up again: the journal does not take it for its end."""
        await self._append((event, self.journal.interrupted(event) if isinstance(event, ToolCallComplete) else ()))

    def saving(self, step: Saved) -> Sequence[Write]:
        """What goes with an event that an engine has saved something with."""
        writes = [Write("checkpoint", "", step.checkpoint)]
        if isinstance(step.event, IterationComplete):
            writes += self.journal.settled(step.event.iteration)
        if step.heard is not None:
            writes += message("user", step.heard.text, self._task_id), Write("heard", step.heard.name, "")
        return writes

    async def _append(self, *told: Told) -> None:
        await self._publisher.publish_together([(self._encode(event), writes) for event, writes in told])
