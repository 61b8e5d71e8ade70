"""What a worker counts. Labels are names from closed sets (agents of the file, event types, tools), never ids."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

UNKNOWN = "unknown"
"""The label of a name that somebody sent and that is not in its set."""
MCP = "mcp"
"""The label of all tools of MCP servers: their names are not ours."""
_TOOL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_QUEUE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """Made once per process, in its own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.started = Counter("runcast_tasks_started_total", "Attempts begun.", ["agent"], registry=registry)
        self.ended = Counter(
            "runcast_tasks_ended_total",
            "Attempts over: complete, failed, cancelled, requeued, or lost to another.",
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
        self.events = Counter("runcast_events_written_total", "Events of attempts.", ["type"], registry=registry)
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
        self.running = Gauge("runcast_tasks_running", "Attempts that run now.", registry=registry)
        self.replica_acks = Counter(
            "runcast_replica_acks_total",
            "Promises that enough replicas have in time (reached), and others (missed).",
            ["outcome"],
            registry=registry,
        )
        self.reaped = Counter(
            "runcast_tasks_reaped_total",
            "What the reaper did: rung, requeued, cancelled, poisoned, or forgot.",
            ["action"],
            registry=registry,
        )
