"""The events, as models of their own fields; the writer adds the envelope (codec.py). Meaning: docs/protocol.md, §3.

A field that is optional is left out when it is not set; one that is null on purpose (`cost_usd`) is set to None.
Models read leniently (unknown fields are kept out, not refused) so that an older reader survives a newer writer.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Count = Annotated[int, Field(ge=0)]


class Event(BaseModel):
    """Base of all events. `iteration`: the model turn it belongs to, where there is one."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    event_type: ClassVar[str]

    iteration: Count | None = None

    def __init_subclass__(cls, type: str) -> None:  # noqa: A002 - reads as a class argument
        super().__init_subclass__()
        cls.event_type = type


class Usage(BaseModel):
    """Tokens and cost added up. `cost_usd` is None when a model's price is unknown."""

    model_config = ConfigDict(frozen=True)

    input: Count = 0
    output: Count = 0
    cached: Count = 0
    cost_usd: float | None = None


# --- session -----------------------------------------------------------------------------------------------------


class ForkedFrom(BaseModel):
    """`messages_left_out`: how many of the oldest messages were too many to be taken along."""

    model_config = ConfigDict(frozen=True)

    session_id: str
    event_id: str
    messages_left_out: Count = 0


class SessionCreated(Event, type="session_created"):
    title: str | None = None
    forked_from: ForkedFrom | None = None


class SessionDeleted(Event, type="session_deleted"):
    pass


class Canary(Event, type="canary"):
    """Of the log that is there to be audited alone."""

    worker: str


class MessageAdded(Event, type="message_added"):
    role: Literal["user", "assistant"]
    content: str


# --- task --------------------------------------------------------------------------------------------------------


class TaskQueued(Event, type="task_queued"):
    prompt: str
    agent: str
    model: str | None = None
    params: dict[str, JsonValue]


class TaskStarted(Event, type="task_started"):
    """Its `attempt` is the envelope's."""

    worker: str
    workspace: Literal["kept", "new"]
    sandbox: Literal["bubblewrap", "reduced"] | None = None


class TaskAnalysis(Event, type="task_analysis"):
    action_name: Annotated[str, Field(max_length=60)]
    goal: str


class TaskRequeued(Event, type="task_requeued"):
    reason: Literal["drain", "crash", "lease_lost", "resume", "approval"]


class TaskPausing(Event, type="task_pausing"):
    by: str
    reason: str | None = None


class TaskCancelling(Event, type="task_cancelling"):
    by: str
    reason: str | None = None


class TaskPaused(Event, type="task_paused"):
    by: str | None = None
    reason: str | None = None


class TaskResumed(Event, type="task_resumed"):
    by: str | None = None


class ApprovalRequired(Event, type="approval_required"):
    tool_call_id: str
    tool_name: str
    arguments: dict[str, JsonValue]
    reason: str


class ApprovalResolved(Event, type="approval_resolved"):
    tool_call_id: str
    decision: Literal["approved", "rejected"]
    by: str
    arguments: dict[str, JsonValue] | None = None


class TaskComplete(Event, type="task_complete"):
    final_answer: str
    total_iterations: Count
    duration_ms: Count
    usage: Usage


class TaskFailed(Event, type="task_failed"):
    error: str
    kind: str
    retryable: bool


class TaskCancelled(Event, type="task_cancelled"):
    by: str
    reason: str | None = None


class LogLost(Event, type="log_lost"):
    """The store lost this attempt's events with the sequence numbers `from_` to `to`, and its writer no longer has
    them. Readers had seen them: they are told by a gap as well."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True)

    from_: Annotated[Count, Field(alias="from")]
    to: Count


# --- plan --------------------------------------------------------------------------------------------------------


class Phase(BaseModel):
    model_config = ConfigDict(frozen=True)
    id: str
    name: str


class Todo(BaseModel):
    model_config = ConfigDict(frozen=True)
    id: str
    text: str
    done: bool


class PlanCreated(Event, type="plan_created"):
    goal: str
    phases: list[Phase]


class PhaseStart(Event, type="phase_start"):
    phase_id: str
    phase_name: str
    phase_index: Count


class PhaseComplete(Event, type="phase_complete"):
    phase_id: str
    phase_name: str
    phase_index: Count


class TodosUpdated(Event, type="todos_updated"):
    todos: list[Todo]


class Progress(Event, type="progress"):
    percent: Annotated[float, Field(ge=0, le=100)]
    message: str | None = None


# --- loop and model ----------------------------------------------------------------------------------------------


class IterationStart(Event, type="iteration_start"):
    iteration: Count


class IterationComplete(Event, type="iteration_complete"):
    iteration: Count
    usage: Usage | None = None


class IterationReset(Event, type="iteration_reset"):
    """The model is asked again in this iteration, since its answer broke off or its attempt died: drop its open parts.
    `reason`: the kind of the model's fault, where it was one."""

    iteration: Count
    reason: str | None = None


class ThinkingStart(Event, type="thinking_start"):
    part_id: str


class Thinking(Event, type="thinking"):
    """`offset`: Unicode code points of the part before this delta."""

    part_id: str
    delta: str
    offset: Count


class ThinkComplete(Event, type="think_complete"):
    part_id: str
    content: str


class OutputStart(Event, type="output_start"):
    part_id: str


class Output(Event, type="output"):
    """`offset`: Unicode code points of the part before this delta."""

    part_id: str
    delta: str
    offset: Count


class OutputComplete(Event, type="output_complete"):
    part_id: str
    content: str


class TokenUsage(Event, type="token_usage"):
    model: str
    input: Count
    output: Count
    cached: Count
    cost_usd: float | None


# --- tools and processes -----------------------------------------------------------------------------------------


class ToolError(BaseModel):
    model_config = ConfigDict(frozen=True)
    code: str
    message: str


class ToolCallStart(Event, type="tool_call_start"):
    """`tool_call_id` is ours, `<iteration>.<index>`; unparsable arguments are `{}` beside `raw_arguments`."""

    tool_call_id: str
    tool_name: str
    arguments: dict[str, JsonValue]
    raw_arguments: str | None = None
    provider_id: str | None = None


class ToolCallStream(Event, type="tool_call_stream"):
    tool_call_id: str
    stream: Literal["stdout", "stderr"]
    chunk: str


class ToolCallComplete(Event, type="tool_call_complete"):
    """Either `result` or `error`. Where they hold only the head and the tail of what the call came to, `size` (bytes)
    and `sha256` are those of the whole text, and `output_url` is where it is kept, if it is."""

    tool_call_id: str
    tool_name: str
    duration_ms: Count
    result: JsonValue = None
    error: ToolError | None = None
    size: Count | None = None
    sha256: str | None = None
    output_url: str | None = None


class Log(Event, type="log"):
    line: str
    line_num: Count
    stream: Literal["stdout", "stderr"]


class Extraction(Event, type="extraction"):
    pattern: str
    value: str
    line_num: Count


class ProcessState(Event, type="state"):
    state: Literal["started", "sample", "exited"]
    rss_bytes: Count | None = None
    cpu_s: float | None = None
    exit_code: int | None = None
    duration_ms: Count | None = None


def _all_events(base: type[Event]) -> dict[str, type[Event]]:
    return {model.event_type: model for model in base.__subclasses__()}


EVENTS: dict[str, type[Event]] = _all_events(Event)
"""Every event model by its type: the closed set, equal to the keys of the state table (a test holds it)."""

ENGINE_EVENTS = frozenset(
    {
        *("task_analysis", "plan_created", "phase_start", "phase_complete", "todos_updated", "progress"),
        *("iteration_start", "iteration_complete", "iteration_reset", "token_usage"),
        *("thinking_start", "thinking", "think_complete", "output_start", "output", "output_complete"),
        *("tool_call_start", "tool_call_stream", "tool_call_complete", "log", "extraction", "state"),
    }
)
"""What an engine may yield; task and session events are the runner's alone."""
