"""What the api answers of sessions. Times are RFC 3339, UTC, with ms."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from runcast_api.schemas import EVENT_ID, SESSION_ID, TASK_ID, TIME, Moment, TaskSummary, moment
from runcast_events.events import ForkedFrom, Todo, Usage
from runcast_tasks.record import SessionSnapshot


class SessionSummary(BaseModel):
    id: str = Field(examples=[SESSION_ID])
    title: str | None
    created_at: Moment
    last_active_at: Moment = Field(description="When its last task was accepted.")


class SessionList(BaseModel):
    """`sessions`: the ids of `data`."""

    sessions: list[str] = Field(examples=[[SESSION_ID]])
    data: list[SessionSummary]
    next_cursor: str | None = Field(description="Of the next page; null on the last one.")


class SessionMessage(BaseModel):
    role: Literal["user", "assistant"]
    content: str
    task_id: str = Field(examples=[TASK_ID])
    timestamp: Moment


class PlanPhase(BaseModel):
    id: str
    name: str
    state: Literal["pending", "active", "done"]


class SessionPlan(BaseModel):
    """The newest plan of its tasks, and how far it is."""

    goal: str
    phases: list[PlanPhase]


class SessionDocument(BaseModel):
    """One atomic look at a session. `as_of`: everything up to and with this event is in it; a stream from this cursor
    goes on from here. `messages` and `tasks`: the newest 200, oldest first; of the messages only what fits in 1 MiB."""

    id: str = Field(examples=[SESSION_ID])
    title: str | None
    messages: list[SessionMessage] = Field(description="Each whole; the newest one whatever its size.")
    messages_truncated: bool = Field(description="True when there are older messages than these.")
    plan: SessionPlan | None
    todos: list[Todo]
    forked_from: ForkedFrom | None = Field(description="Where it is a fork: of which session, and at which event.")
    usage: Usage = Field(description="Tokens and cost of all its tasks so far.")
    tasks: list[TaskSummary]
    created_at: Moment
    updated_at: Moment = Field(description="When its last event was appended.")
    as_of: str = Field(examples=[EVENT_ID])

    @classmethod
    def of(cls, snapshot: SessionSnapshot) -> "SessionDocument":
        return cls(
            id=snapshot.id,
            title=snapshot.title,
            messages=[SessionMessage.model_validate(message) for message in snapshot.messages],
            messages_truncated=snapshot.messages_left_out > 0,
            plan=None if snapshot.plan is None else SessionPlan.model_validate(snapshot.plan),
            forked_from=snapshot.forked_from,
            usage=snapshot.usage,
            todos=[Todo.model_validate(todo) for todo in snapshot.todos],
            tasks=[TaskSummary.of(summary) for summary in snapshot.tasks],
            created_at=moment(snapshot.created_at),
            updated_at=moment(snapshot.updated_at),
            as_of=str(snapshot.as_of),
        )


class GapDocument(BaseModel):
    """A break: the log no longer has what follows `from`; the page goes on after `to`."""

    from_: str = Field(alias="from", examples=["0-0"])
    to: str = Field(examples=[EVENT_ID])
    reason: Literal["trimmed", "rewound", "unknown_cursor", "gone"]


class EventPage(BaseModel):
    """`next`: what to pass as `after` for the next page; null where the log has no more yet. `gap`: only where there is
    one; it stands before the first event."""

    data: list[dict[str, JsonValue]] = Field(
        examples=[[{"id": EVENT_ID, "event_type": "progress", "timestamp": TIME, "percent": 50}]]
    )
    next: str | None = Field(examples=[EVENT_ID])
    gap: GapDocument | None = None
