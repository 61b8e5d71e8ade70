"""The spans of an attempt, with the names that OpenTelemetry gives to what agents do; never what is said or done.

https://github.com/open-telemetry/semantic-conventions-genai (in development: the names are here alone).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from runcast_events.codec import Envelope
from runcast_events.events import Usage
from runcast_service.tracing import Attributes, Span, Tracer, current_span, entered
from runcast_tasks.record import TaskRecord


def attempt_span(tracer: Tracer, record: TaskRecord, agent: str) -> Span:
    """Begins now, in the trace of the request that submitted the task. `agent`: a name of the agents file."""
    about: dict[str, str | int] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": agent,
        "runcast.task.id": record.id,
        "runcast.attempt": record.attempt,
    }
    if record.model is not None:
        about["gen_ai.request.model"] = record.model
    of_all: Attributes = {"gen_ai.conversation.id": record.session_id}
    return tracer.span(f"invoke_agent {agent}", record.traceparent, about, everywhere=of_all, link=True)


def attempt_envelope(record: TaskRecord) -> Envelope:
    """Of the events of the attempt that this task is in."""
    trace = current_span().traceparent or record.traceparent
    return Envelope(record.session_id, record.id, record.attempt, trace)


def tell_outcome(outcome: str) -> None:
    """Of the attempt that this task is in."""
    span = current_span()
    span.set({"runcast.outcome": outcome})
    if outcome in ("failed", "lost"):
        span.fail(outcome)


def model_span(name: str) -> Span:
    """Of one request to a model, within the attempt that this task is in."""
    about: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": name}
    return current_span().child(f"chat {name}", about, "client")


def model_usage(took: Usage) -> Attributes:
    return {
        "gen_ai.usage.input_tokens": took.input,
        "gen_ai.usage.output_tokens": took.output,
        "gen_ai.usage.cache_read.input_tokens": took.cached,
    }


async def in_tool_span(name: str, call_id: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """What the call came to, as ToolCallComplete tells it; in a task of its own."""
    about: Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": call_id,
    }
    with entered(current_span().child(f"execute_tool {name}", about)) as span:
        told = await work()
        if "error" in told:
            span.fail(told["error"].code)
        return told
