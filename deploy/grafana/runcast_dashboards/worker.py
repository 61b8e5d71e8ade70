"""Worker & models: what runs, how long each part of a task takes, what tools and models do, what workers lose."""

from runcast_dashboards.panel import Board, Query, Row, Variable, graph
from runcast_dashboards.processes import instances, process_row
from runcast_dashboards.queries import or_zero, quantile, quantiles, rate

CHOSEN = 'instance=~"$instance"'
AGENTS = f'{CHOSEN}, agent=~"$agent"'

TASKS = Row(
    "Tasks",
    (
        graph(
            "Running, of slots",
            "By worker. RUNCAST_MAX_JOBS is the number of slots.",
            "short",
            Query(f"runcast_tasks_running{{{CHOSEN}}}", "running {{instance}}"),
            Query(f"runcast_task_slots{{{CHOSEN}}}", "slots {{instance}}"),
            width=6,
        ),
        graph(
            "Queue",
            "Rings that no worker has taken, and the age of the oldest.",
            "short",
            Query("max(runcast_tasks_queued)", "tasks"),
            Query("max(runcast_tasks_queued_oldest_seconds)", "oldest, seconds"),
            width=6,
        ),
        graph(
            "Attempts started",
            "By agent. A task that is taken over is started again.",
            "cps",
            Query(rate("runcast_tasks_started_total", "agent", where=AGENTS), "{{agent}}"),
            width=6,
            stacked=True,
        ),
        graph(
            "Attempts ended",
            "By outcome. requeued: drained, or taken from a lost worker. lost: another one has it.",
            "cps",
            Query(rate("runcast_tasks_ended_total", "outcome", where=AGENTS), "{{outcome}}"),
            width=6,
            stacked=True,
        ),
    ),
)

TIMES = Row(
    "Times",
    (
        graph(
            "Submit → claim, p95",
            "What a task waits for a worker.",
            "s",
            Query(quantile(0.95, "runcast_task_queue_seconds", "agent", where=AGENTS), "{{agent}}"),
            log=True,
        ),
        graph(
            "Submit → first event, p95",
            "What its client waits until the engine says something.",
            "s",
            Query(quantile(0.95, "runcast_task_first_event_seconds", "agent", where=AGENTS), "{{agent}}"),
            log=True,
        ),
        graph(
            "Submit → end, p95",
            "By outcome.",
            "s",
            Query(quantile(0.95, "runcast_task_seconds", "outcome", where=AGENTS), "{{outcome}}"),
            log=True,
        ),
    ),
)

TOOLS = Row(
    "Agents and tools",
    (
        graph(
            "Iterations",
            "Of agents' loops.",
            "cps",
            Query(rate("runcast_iterations_total", "agent", where=AGENTS), "{{agent}}"),
            stacked=True,
        ),
        graph(
            "Tool calls",
            "error: the agent was told what went wrong. stopped: its task ended meanwhile.",
            "cps",
            Query(rate("runcast_tool_calls_total", "tool", "outcome", where=CHOSEN), "{{tool}} {{outcome}}"),
            stacked=True,
        ),
        graph(
            "Tool time, p95",
            "From a call's start to its end.",
            "s",
            Query(quantile(0.95, "runcast_tool_seconds", "tool", where=CHOSEN), "{{tool}}"),
            log=True,
        ),
    ),
)

MODELS = Row(
    "Models",
    (
        graph(
            "Requests",
            "By model and outcome: ok, or the kind of the fault. A fault that passes is asked again.",
            "cps",
            Query(
                rate("runcast_model_request_seconds_count", "model", "outcome", where=CHOSEN), "{{model}} {{outcome}}"
            ),
            stacked=True,
        ),
        graph(
            "Time, p95",
            "From a request to its answer's end.",
            "s",
            Query(quantile(0.95, "runcast_model_request_seconds", "model", where=CHOSEN), "{{model}}"),
            log=True,
        ),
        graph(
            "First token, p95",
            "From a request to the first words of its answer.",
            "s",
            Query(quantile(0.95, "runcast_model_first_token_seconds", "model", where=CHOSEN), "{{model}}"),
            log=True,
        ),
        graph(
            "Tokens",
            "By model and kind. Cached ones are part of the input.",
            "cps",
            Query(rate("runcast_model_tokens_total", "model", "kind", where=CHOSEN), "{{model}} {{kind}}"),
            width=12,
        ),
        graph(
            "Cost per hour",
            "By model, where its price is known.",
            "currencyUSD",
            Query(
                or_zero(f"{rate('runcast_model_cost_usd_total', 'model', where=CHOSEN)} * 3600", "model"), "{{model}}"
            ),
            width=12,
            stacked=True,
        ),
    ),
)

LOSSES = Row(
    "Leases and takeovers",
    (
        graph(
            "Leases lost",
            "another: somebody took the task over. lapsed: it could not be renewed in time, so the worker stopped"
            " itself.",
            "cps",
            Query(rate("runcast_leases_lost_total", "reason", where=CHOSEN), "{{reason}}"),
            Query(rate("runcast_appends_fenced_total", where=CHOSEN), "appends fenced off"),
            width=6,
        ),
        graph(
            "Reaped",
            "What the reaper did: rung again, requeued from a lost worker, cancelled, poisoned (too many workers"
            " vanished over it), forgotten (over already).",
            "cps",
            Query(rate("runcast_tasks_reaped_total", "action", where=CHOSEN), "{{action}}"),
            width=6,
        ),
        graph(
            "Checkpoints",
            "How long appends take that carry an attempt's checkpoint.",
            "s",
            *quantiles("runcast_checkpoint_seconds", CHOSEN),
            width=6,
            log=True,
        ),
        graph(
            "Promises on replicas",
            "Only where RUNCAST_REPLICA_ACKS asks for it. missed: the store acknowledged what its replicas lacked in"
            " time.",
            "cps",
            Query(rate("runcast_replica_acks_total", "outcome"), "{{outcome}}"),
            width=6,
        ),
    ),
)

WORKER = Board(
    "runcast-worker",
    "Runcast / Worker & models",
    "What runs, how long each part of it takes, and what it costs.",
    (TASKS, TIMES, TOOLS, MODELS, LOSSES, process_row("worker")),
    (instances("worker"), Variable("agent", "runcast_tasks_started_total", "agent")),
)
