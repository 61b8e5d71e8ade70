"""Overview: is it well, which hop is slow, is it full, is it losing, what does it cost."""

from runcast_dashboards.panel import Board, Query, Row, graph, stat
from runcast_dashboards.processes import cpu, loop_lag, memory
from runcast_dashboards.queries import or_zero, quantile, rate, share

SUBMIT = 'route="/api/tasks", method="POST"'

WELL = Row(
    "Is it well?",
    (
        stat(
            "Alerts firing",
            "Each says what to do in its runbook.",
            "short",
            Query(or_zero('count(ALERTS{alertstate="firing", alertname=~"Runcast.+"})')),
            bad=1,
        ),
        stat(
            "Events lost",
            "What the audit missed in the chosen time: appended by a worker, never delivered by a gateway. It stays 0.",
            "short",
            Query("sum(increase(runcast_events_lost_total[$__range]))"),
            bad=1,
        ),
        stat(
            "Events repeated",
            "What the audit was delivered twice in the chosen time. It stays 0.",
            "short",
            Query("sum(increase(runcast_events_repeated_total[$__range]))"),
            bad=1,
        ),
        stat(
            "Canary heard",
            "How long ago the gateway that is worst off delivered the last event of the canary session. One that"
            " grows says that some hop between worker and gateway stands still.",
            "s",
            Query("max(runcast_canary_age_seconds)"),
            warn=30,
            bad=60,
        ),
        stat(
            "Delivered, p99",
            "From an event's append to its hand-over to a live client's socket.",
            "s",
            Query(quantile(0.99, "runcast_delivery_seconds")),
            warn=0.25,
            bad=1,
        ),
        stat(
            "Processes",
            "Those that Prometheus reaches.",
            "short",
            Query("count by (service) (runcast_build_info)", "{{service}}"),
        ),
        stat(
            "Oldest queued task",
            "How long the task has waited that has waited longest for a worker.",
            "s",
            Query("max(runcast_tasks_queued_oldest_seconds)"),
            warn=10,
            bad=60,
        ),
        stat(
            "Worker slots in use",
            "Tasks that run, of those that could run at once. At 100 % tasks wait.",
            "percentunit",
            Query("sum(runcast_tasks_running) / sum(runcast_task_slots)"),
            warn=0.8,
            bad=0.95,
        ),
        stat(
            "Streams, of the limit",
            "Of the fullest gateway. At 100 % clients are asked to come back later.",
            "percentunit",
            Query("max(runcast_streams / runcast_streams_limit)"),
            warn=0.6,
            bad=0.8,
        ),
        stat(
            "Store memory, of the limit",
            "At 100 % the store refuses writes, and tasks wait.",
            "percentunit",
            Query("max(redis_memory_used_bytes / (redis_memory_max_bytes > 0))"),
            warn=0.6,
            bad=0.8,
        ),
        stat(
            "Tasks failed, last hour",
            "Of those that came to an end by themselves.",
            "percentunit",
            Query(
                share(
                    'sum(increase(runcast_tasks_ended_total{outcome="failed"}[1h]))',
                    'sum(increase(runcast_tasks_ended_total{outcome=~"complete|failed"}[1h]))',
                )
            ),
            warn=0.05,
            bad=0.2,
        ),
        stat(
            "Cost per hour",
            "Of models whose price is known, over the last hour.",
            "currencyUSD",
            Query(or_zero("sum(rate(runcast_model_cost_usd_total[1h])) * 3600")),
            warn=10,
            bad=50,
        ),
    ),
)

HOPS = Row(
    "Which hop?",
    (
        graph(
            "Where the time goes, p95",
            "Each hop by itself: accepted → queued → started → appended → delivered. The line that stands out is the"
            " hop to look at. The canary goes the whole way from a worker's append to a gateway's delivery.",
            "s",
            Query(quantile(0.95, "runcast_api_request_seconds", where=SUBMIT), "accepted: POST /api/tasks"),
            Query(quantile(0.95, "runcast_task_queue_seconds"), "queued: submit to claim"),
            Query(quantile(0.95, "runcast_task_first_event_seconds"), "started: submit to first event"),
            Query(quantile(0.95, "runcast_append_seconds"), "appended"),
            Query(quantile(0.95, "runcast_delivery_seconds"), "delivered"),
            Query(quantile(0.95, "runcast_canary_seconds"), "canary: append to delivery"),
            width=12,
            log=True,
        ),
        graph(
            "What passes each hop",
            "Per second. A line that falls while the one above it does not is where things pile up. Delivered counts"
            " every client.",
            "cps",
            Query(rate("runcast_tasks_accepted_total"), "tasks accepted"),
            Query(rate("runcast_tasks_started_total"), "attempts started"),
            Query(rate("runcast_tasks_ended_total"), "attempts ended"),
            Query(rate("runcast_events_written_total"), "events appended"),
            Query(rate("runcast_events_delivered_total"), "events delivered live"),
            Query(rate("runcast_events_replayed_total"), "events replayed"),
            width=12,
            log=True,
        ),
        graph(
            "API: requests by status",
            "5xx is ours: 503 while a store is away, 500 never.",
            "reqps",
            Query(rate("runcast_api_request_seconds_count", "status"), "{{status}}"),
            stacked=True,
        ),
        graph(
            "API: time, p95",
            "By route, from the request's head to the answer's last byte.",
            "s",
            Query(quantile(0.95, "runcast_api_request_seconds", "method", "route"), "{{method}} {{route}}"),
            log=True,
        ),
        graph(
            "Tasks accepted and rejected",
            "Rejected by reason: what clients were told instead of 202.",
            "cps",
            Query(rate("runcast_tasks_accepted_total", "agent"), "{{agent}}"),
            Query(or_zero(rate("runcast_tasks_rejected_total", "reason"), "reason"), "rejected: {{reason}}"),
        ),
    ),
)

FULL = Row(
    "Is it full?",
    (
        graph(
            "Tasks and slots",
            "Waiting tasks below a line of slots that is not reached are a fault; at the line they need more workers.",
            "short",
            Query("max(runcast_tasks_queued)", "queued"),
            Query("sum(runcast_tasks_running)", "running"),
            Query("sum(runcast_task_slots)", "slots"),
        ),
        graph(
            "Streams",
            "Open streams by gateway, and the limit of one.",
            "short",
            Query("sum by (instance) (runcast_streams)", "{{instance}}"),
            Query("max(runcast_streams_limit)", "limit"),
            log=True,
        ),
        graph(
            "Store memory",
            "What the store uses, and what it may.",
            "bytes",
            Query("redis_memory_used_bytes", "used {{instance}}"),
            Query("redis_memory_max_bytes > 0", "limit {{instance}}"),
        ),
        loop_lag(),
        cpu(),
        memory(),
    ),
)

LOSING = Row(
    "Is it losing?",
    (
        graph(
            "What clients were told or not told",
            "Gaps are told to clients, by reason: trimmed and gone come with age, rewound when the store lost writes."
            " Lost and repeated are found by the audit, and stay 0.",
            "cps",
            Query(rate("runcast_events_lost_total"), "lost"),
            Query(rate("runcast_events_repeated_total"), "repeated"),
            Query(rate("runcast_gaps_total", "reason"), "gap: {{reason}}"),
        ),
        graph(
            "Attempts by outcome",
            "requeued and lost are attempts that another one continues.",
            "cps",
            Query(rate("runcast_tasks_ended_total", "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        graph(
            "Workers lost and fenced",
            "What the reaper did for tasks whose worker was gone, and what workers noticed of it.",
            "cps",
            Query(rate("runcast_tasks_reaped_total", "action"), "reaped: {{action}}"),
            Query(rate("runcast_leases_lost_total", "reason"), "lease lost: {{reason}}"),
            Query(rate("runcast_appends_fenced_total"), "appends fenced off"),
        ),
    ),
)

COST = Row(
    "What does it cost?",
    (
        graph(
            "Cost per hour",
            "By model, where its price is known.",
            "currencyUSD",
            Query(or_zero(f"{rate('runcast_model_cost_usd_total', 'model')} * 3600", "model"), "{{model}}"),
            stacked=True,
        ),
        graph(
            "Tokens",
            "Cached ones are part of the input.",
            "cps",
            Query(or_zero(rate("runcast_model_tokens_total", "kind"), "kind"), "{{kind}}"),
        ),
        graph(
            "Model requests by outcome",
            "ok, or what went wrong.",
            "cps",
            Query(or_zero(rate("runcast_model_request_seconds_count", "outcome"), "outcome"), "{{outcome}}"),
            stacked=True,
        ),
    ),
)

OVERVIEW = Board(
    "runcast-overview",
    "Runcast / Overview",
    "Is it slow, losing, full or costly, and at which hop.",
    (WELL, HOPS, FULL, LOSING, COST),
)
