"""What a worker counts. Labels are names from closed sets (agents of the file, event types, tools), never ids."""

from collections.abc import Mapping
from time import time

from prometheus_client import Counter, Gauge, Histogram

from runcast_agents import Agent
from runcast_events.events import Usage
from runcast_events.states import TERMINAL
from runcast_service.log_metrics import LogMetrics
from runcast_service.metrics import ProcessRegistry, begin_at_zero
from runcast_tasks.record import TaskRecord

UNKNOWN = "unknown"
"""The label of a name that somebody sent and that is not in its set."""
MCP = "mcp"
"""The label of all tools of MCP servers: their names are not ours."""
_TOOL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_QUEUE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_TASK_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
_MODEL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)


def since_submit_s(record: TaskRecord) -> float:
    """Seconds since the task was submitted, by the store's clock and ours."""
    return max(0.0, time() - record.created_at / 1000)


class Metrics:
    """Made once per process, in its own registry."""

    def __init__(self) -> None:
        self.registry = registry = ProcessRegistry("worker")
        self.log = LogMetrics(registry)
        self.started = Counter("runcast_tasks_started_total", "Attempts begun.", ["agent"], registry=registry)
        self.ended = Counter(
            "runcast_tasks_ended_total",
            "Attempts over: complete, failed, cancelled, requeued, paused, approval_required, or lost to another.",
            ["agent", "outcome"],
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "runcast_task_queue_seconds",
            "From the submit to the first attempt's claim.",
            ["agent"],
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self.first_event_seconds = Histogram(
            "runcast_task_first_event_seconds",
            "From the submit to the first event that the agent itself made.",
            ["agent"],
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self.task_seconds = Histogram(
            "runcast_task_seconds",
            "From the submit to the terminal event.",
            ["agent", "outcome"],
            buckets=_TASK_BUCKETS,
            registry=registry,
        )
        self.leases_lost = Counter(
            "runcast_leases_lost_total",
            "Attempts that lost their lease: to another, or because it could not be renewed in time (lapsed).",
            ["reason"],
            registry=registry,
        )
        self.iterations = Counter(
            "runcast_iterations_total", "Iterations that agents began.", ["agent"], registry=registry
        )
        self.tool_calls = Counter(
            "runcast_tool_calls_total",
            "Tool calls: ok, error (the agent was told), or stopped.",
            ["tool", "outcome"],
            registry=registry,
        )
        self.tool_seconds = Histogram(
            "runcast_tool_seconds",
            "From a tool call's start to its end, by outcome.",
            ["tool", "outcome"],
            buckets=_TOOL_BUCKETS,
            registry=registry,
        )
        self.model_seconds = Histogram(
            "runcast_model_request_seconds",
            "From asking a model to the end of its answer: ok, or the kind of its fault.",
            ["model", "outcome"],
            buckets=_MODEL_BUCKETS,
            registry=registry,
        )
        self.model_first_token_seconds = Histogram(
            "runcast_model_first_token_seconds",
            "From asking a model to the first it said.",
            ["model"],
            buckets=_MODEL_BUCKETS,
            registry=registry,
        )
        self.model_tokens = Counter(
            "runcast_model_tokens_total",
            "Tokens: input, of which cached, and output.",
            ["model", "kind"],
            registry=registry,
        )
        self.model_cost = Counter(
            "runcast_model_cost_usd_total", "Cost of what has a known price.", ["model"], registry=registry
        )
        self.running = Gauge("runcast_tasks_running", "Attempts that run now.", registry=registry)
        self.canaries = Counter(
            "runcast_canary_appended_total", "Events that gateways have to show, to be audited.", registry=registry
        )
        self.slots = Gauge("runcast_task_slots", "Attempts that may run at a time.", registry=registry)
        self.reaped = Counter(
            "runcast_tasks_reaped_total",
            "What the reaper did: rung, requeued, cancelled, poisoned, or forgot.",
            ["action"],
            registry=registry,
        )
        begin_at_zero(self.leases_lost, ("another", "lapsed"))
        begin_at_zero(self.reaped, ("rung", "requeued", "cancelled", "poisoned", "forgotten"))

    def expect(self, agents: Mapping[str, Agent], default_model: str | None) -> None:
        """Show at zero, as `begin_at_zero` does, what these agents and their models may come to."""
        for name, agent in agents.items():
            for outcome in (*sorted(TERMINAL), "requeued", "lost"):
                self.ended.labels(name, outcome)
            if agent.engine == "llm":
                for model in filter(None, {agent.model or default_model, *agent.models, *agent.fallback_models}):
                    self.model_seconds.labels(model, "ok")
                    self.model_cost.labels(model)

    def count_usage(self, model: str, took: Usage) -> None:
        for kind in ("input", "cached", "output"):
            self.model_tokens.labels(model, kind).inc(getattr(took, kind))
        self.model_cost.labels(model).inc(took.cost_usd or 0)
