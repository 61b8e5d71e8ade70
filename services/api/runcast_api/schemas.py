"""The bodies of requests and answers. Times are RFC 3339, UTC, with ms."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from runcast_events.events import Usage
from runcast_tasks.control import Cancelled
from runcast_tasks.record import TaskRecord
from runcast_tasks.record import TaskSummary as Summary
from runcast_tasks.submit import OnBusy, Receipt

MAX_PROMPT_CHARS = 200_000
MAX_DOCUMENT_BYTES = 16 * 1024
"""Of `params` and of `metadata`, as JSON: an event of 64 KiB carries the params beside the prompt."""

SESSION_ID = "s1"
TASK_ID = "s1.abcdefghij"
EVENT_ID = "1763640000000-12"
TIME = "2025-11-20T12:00:00.000Z"

TaskState = Literal["queued", "running", "paused", "waiting_approval", "complete", "failed", "cancelled"]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=[TIME])]


def moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(ms: int | None) -> str | None:
    return None if ms is None else moment(ms)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _small(document: dict[str, JsonValue]) -> dict[str, JsonValue]:
    size = len(to_json(document))
    if size > MAX_DOCUMENT_BYTES:
        raise ValueError(f"takes {size} bytes as JSON, the limit is {MAX_DOCUMENT_BYTES}")
    return document


Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS), AfterValidator(_not_blank)]
Document = Annotated[dict[str, JsonValue], AfterValidator(_small)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TaskRequest(Body):
    """What somebody wants done."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"task": "List the files here.", "session_id": SESSION_ID, "agent": "demo"}]}
    )

    task: Prompt
    session_id: str | None = Field(
        None,
        description="1 to 64 of A-Z a-z 0-9 _ -; the session is made if it is not there. Left out: in a new session.",
    )
    agent: str | None = Field(None, description="One of GET /api/agents. Left out: the default agent.")
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    params: Document = Field(default_factory=dict, description="For the agent; at most 16 KiB as JSON.")
    metadata: Document = Field(default_factory=dict, description="For the client, kept as it is; at most 16 KiB.")
    on_busy: OnBusy = Field(
        "enqueue",
        description="What if the session has a live task. `enqueue`: wait behind all of them. `reject`: refuse with "
        "409 `session_busy`. `interrupt`: cancel the one whose turn it is, and come next, before those that wait.",
    )


class CancelRequest(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "no longer needed"}]})

    reason: Annotated[str, Field(max_length=1000)] | None = None


class Links(BaseModel):
    """Paths. `events`: the task's live stream, Server-Sent Events."""

    self_: str = Field(alias="self", examples=[f"/api/tasks/{TASK_ID}"])
    events: str = Field(examples=[f"/stream/tasks/{TASK_ID}"])
    cancel: str = Field(examples=[f"/api/tasks/{TASK_ID}/cancel"])

    @classmethod
    def of(cls, task_id: str) -> "Links":
        path = f"/api/tasks/{task_id}"
        return cls(self=path, events=f"/stream/tasks/{task_id}", cancel=f"{path}/cancel")


class TaskAccepted(BaseModel):
    status: Literal["accepted"] = "accepted"
    task_id: str = Field(examples=[TASK_ID])
    session_id: str = Field(examples=[SESSION_ID])
    message: str = Field(examples=["The task is accepted and will run."])
    interrupted: str | None = Field(None, description="With `on_busy: interrupt`: the task that is cancelled for it.")
    links: Links

    @classmethod
    def of(cls, receipt: Receipt) -> "TaskAccepted":
        return cls(
            task_id=receipt.task_id,
            session_id=receipt.session_id,
            message="The task is accepted and will run.",
            interrupted=receipt.interrupted,
            links=Links.of(receipt.task_id),
        )


class CancelReceipt(BaseModel):
    """`cancelling`: its attempt was asked to stop. `ended`: it was over before, in `state`."""

    task_id: str = Field(examples=[TASK_ID])
    state: TaskState
    status: Literal["cancelling", "cancelled", "ended"]

    @classmethod
    def of(cls, task_id: str, cancelled: Cancelled) -> "CancelReceipt":
        status = "ended" if cancelled.ended else "cancelled" if cancelled.state == "cancelled" else "cancelling"
        return cls.model_validate({"task_id": task_id, "state": cancelled.state, "status": status})


class _Task(BaseModel):
    id: str = Field(examples=[TASK_ID])
    session_id: str = Field(examples=[SESSION_ID])
    state: TaskState
    prompt: str
    agent: str = Field(examples=["demo"])
    model: str | None
    attempt: int = Field(description="Holds of workers on it so far.")
    created_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    links: Links


class TaskSummary(_Task):
    """A task in a list. `prompt`: its first 200 characters."""

    @classmethod
    def of(cls, summary: Summary) -> "TaskSummary":
        return cls.model_validate(_fields(summary) | {"prompt": summary.prompt_head})


class TaskFailure(BaseModel):
    message: str
    kind: str = Field(examples=["engine"])
    retryable: bool


class WaitingCall(BaseModel):
    """A call that somebody has to decide about: POST /api/tasks/{task_id}/approvals/{tool_call_id}."""

    tool_call_id: str = Field(examples=["1.0"])
    tool_name: str
    arguments: dict[str, JsonValue]
    reason: str


class TaskDocument(_Task):
    """A task, its `prompt` whole. A `final_answer` above 64 KiB is cut here; a session's newest messages are whole."""

    params: dict[str, JsonValue]
    metadata: dict[str, JsonValue]
    final_answer: str | None = Field(description="Set when complete.")
    error: TaskFailure | None = Field(description="Set when failed.")
    cancelled_by: str | None = Field(description="Set when cancelled.")
    cancel_reason: str | None
    approval: WaitingCall | None = Field(description="Set while it waits for an approval.")
    usage: Usage = Field(description="Tokens and cost of all its model calls so far; no cost where a price is unknown.")
    traceparent: str | None = Field(description="The trace of the request that submitted it, by W3C trace context.")
    after_id: str = Field(description="The event id before the task's first: a cursor to replay it from.")
    terminal_id: str | None = Field(description="The event id of its end.", examples=[EVENT_ID])

    @classmethod
    def of(cls, record: TaskRecord) -> "TaskDocument":
        outcome, error = record.outcome or {}, None
        if record.state == "failed":
            error = {"message": outcome["error"], "kind": outcome["kind"], "retryable": outcome["retryable"]}
        return cls.model_validate(
            _fields(record)
            | {
                "prompt": record.prompt,
                "params": record.params,
                "metadata": record.metadata,
                "final_answer": outcome.get("final_answer"),
                "error": error,
                "cancelled_by": outcome.get("by"),
                "cancel_reason": outcome.get("reason"),
                "approval": record.approval,
                "usage": record.usage,
                "traceparent": record.traceparent,
                "after_id": str(record.after_id),
                "terminal_id": None if record.terminal_id is None else str(record.terminal_id),
            }
        )


def _fields(record: TaskRecord | Summary) -> dict[str, object]:
    return {
        "id": record.id,
        "session_id": record.session_id,
        "state": record.state,
        "agent": record.agent,
        "model": record.model,
        "attempt": record.attempt,
        "created_at": moment(record.created_at),
        "started_at": _moment(record.started_at),
        "ended_at": _moment(record.ended_at),
        "links": Links.of(record.id),
    }


class TaskList(BaseModel):
    data: list[TaskSummary]
    next_cursor: str | None = Field(description="Of the next page; null on the last one.")


class Health(BaseModel):
    status: Literal["ok"] = "ok"
