"""What can go wrong with a task. Each class says when; its attributes carry the data."""

from runcast_events.errors import IllegalMove


class TasksError(Exception):
    """Base of this package's errors."""


class NotFound(TasksError):
    """The store has no such task or session (any more)."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"no such {what}: {name}")
        self.what, self.name = what, name


class SessionDeleted(TasksError):
    """The session was deleted; its id cannot be used again until the tombstone expires."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"the session {session_id} was deleted")
        self.session_id = session_id


class SessionBusy(TasksError):
    """The session has a live task, and the caller asked for one that is at rest."""

    def __init__(self, session_id: str, task_ids: list[str]) -> None:
        super().__init__(f"the session {session_id} has live tasks: {', '.join(task_ids) or 'one'}")
        self.session_id, self.task_ids = session_id, task_ids


class AlreadyDecided(IllegalMove):
    """Somebody else decided about the call before, and otherwise. `state`: the task's now."""

    def __init__(self, state: str, call_id: str, decision: str) -> None:
        super().__init__(state, "approval_resolved")
        self.args = (f"the call {call_id} was decided about before, and otherwise: {decision}",)


class TooManyInputs(TasksError):
    """As much as may wait has been said to the task, and its model has not been asked since."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"too much waits to be heard by {task_id}; say it again when its model has been asked")
        self.task_id = task_id


class SessionExists(TasksError):
    """A new session was to get this id, and there is one that is another."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"there is a session {session_id} already, and it is not this fork; choose another id")
        self.session_id = session_id


class UnknownEvent(TasksError):
    """The session's log has no such event, and never had, or lost it in a rollback."""

    def __init__(self, session_id: str, event_id: str) -> None:
        super().__init__(f"the log of {session_id} has no event {event_id}: expected the id of one of its events")
        self.session_id, self.event_id = session_id, event_id


class InputExists(TasksError):
    """Something else was said to the task with that id."""

    def __init__(self, task_id: str, input_id: str) -> None:
        super().__init__(f"something else was said to {task_id} with the input_id {input_id}; expected a new one")
        self.task_id, self.input_id = task_id, input_id


class Ending(TasksError):
    """The task has given its answer: nobody hears any more what is said to it."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"{task_id} has just given its answer and ends; say it to the session in a new task")
        self.task_id = task_id


class NotReplicated(TasksError):
    """Too few replicas of the store answer for a promise. The task was withdrawn: it may be submitted again."""

    def __init__(self, task_id: str) -> None:
        super().__init__("too few replicas of the store answer; the task was withdrawn, so it can be submitted again")
        self.task_id = task_id


class EventTrimmed(TasksError):
    """The session's log no longer goes back to that event."""

    def __init__(self, session_id: str, event_id: str) -> None:
        super().__init__(f"the log of {session_id} was trimmed and begins after {event_id}; choose a later event")
        self.session_id, self.event_id = session_id, event_id


class ForkDisturbed(TasksError):
    """The session was trimmed, deleted or rolled back while it was read. Another try tells which."""


class LastChance(TasksError):
    """The task's workers vanished so often that the next time ends it: who runs one such task begins no other."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"{task_id} has one attempt left, and gets it beside no other such task")
        self.task_id = task_id


class LeaseLost(TasksError):
    """The attempt may no longer believe that it holds its task: it stops at once."""


class LeaseLapsed(LeaseLost):
    """The lease could not be renewed in time. It is not known to be another's: the attempt may still say that it gives
    its task up, since that is fenced."""


class OutputRefused(TasksError):
    """A tool call's output is not kept. `why`: GONE (the session was deleted), FENCED (the attempt does not hold the
    task), FULL (the session's outputs take all they may), BROKEN (a piece is missing before this one)."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the output is not kept: {why}")
        self.why = why
