"""Gateway: who listens, how soon they are told, how they catch up, and whether the audit agrees."""

from runcast_dashboards.panel import Board, Query, Row, graph
from runcast_dashboards.processes import instances, process_row
from runcast_dashboards.queries import mean, or_zero, quantile, quantiles, rate

CHOSEN = 'instance=~"$instance"'

STREAMS = Row(
    "Streams",
    (
        graph(
            "Open streams",
            "All, and of them those that are live: the others read the log to catch up.",
            "short",
            Query(f"runcast_streams{{{CHOSEN}}}", "open {{instance}}"),
            Query(f"runcast_streams_live{{{CHOSEN}}}", "live {{instance}}"),
            Query(f"max(runcast_streams_limit{{{CHOSEN}}})", "limit"),
            log=True,
        ),
        graph(
            "Opened and refused",
            "Many opened with few open: clients that do not stay. Refused: too many streams, or the gateway drains.",
            "cps",
            Query(rate("runcast_streams_opened_total", "kind", where=CHOSEN), "opened: {{kind}}"),
            Query(rate("runcast_streams_refused_total", "reason", where=CHOSEN), "refused: {{reason}}"),
        ),
        graph(
            "Closed by reason",
            "gone: the client left. end: its task was over. send_timeout: it took nothing for too long. error and"
            " shutdown are ours.",
            "cps",
            Query(rate("runcast_streams_closed_total", "reason", where=CHOSEN), "{{reason}}"),
            stacked=True,
        ),
    ),
)

DELIVERY = Row(
    "Live delivery",
    (
        graph(
            "Appended → delivered",
            "From an event's append (the store's clock) to its hand-over to a live client's socket.",
            "s",
            *quantiles("runcast_delivery_seconds", CHOSEN),
            log=True,
            bad=1,
        ),
        graph(
            "Events delivered",
            "Each client counts, by dialect.",
            "cps",
            Query(rate("runcast_events_delivered_total", "dialect", where=CHOSEN), "{{dialect}}"),
            stacked=True,
        ),
        graph(
            "Bytes delivered",
            "Before compression, by dialect.",
            "Bps",
            Query(rate("runcast_bytes_delivered_total", "dialect", where=CHOSEN), "{{dialect}}"),
            stacked=True,
        ),
    ),
)

CATCHING_UP = Row(
    "Catching up",
    (
        graph(
            "Replayed events",
            "Read from the log for clients that came back or are slow.",
            "cps",
            Query(rate("runcast_events_replayed_total", where=CHOSEN), "replayed"),
        ),
        graph(
            "Behind → live again",
            "How long a stream took from its beginning, or from becoming slow, to being live.",
            "s",
            *quantiles("runcast_replay_seconds", CHOSEN),
            log=True,
        ),
        graph(
            "Slow clients",
            "How often a live client's socket was full, so that it went back to the log; and how long the one that is"
            " longest behind has been behind. One slow client is its own affair, many are a network's.",
            "short",
            Query(rate("runcast_streams_slow_total", where=CHOSEN), "became slow, per second"),
            Query(f"max(runcast_slowest_lag_seconds{{{CHOSEN}}})", "longest behind, seconds"),
        ),
    ),
)

HUB = Row(
    "Hub",
    (
        graph(
            "Publications",
            "followed: delivered as it came. changed: a hole before it, so the log was read.",
            "cps",
            Query(rate("runcast_publications_total", "outcome", where=CHOSEN), "{{outcome}}"),
            width=6,
            stacked=True,
        ),
        graph(
            "Repairs",
            "Reads that bring channels up to date, and the events they brought. A sweep reads now and then even if"
            " nothing is amiss; events show that publications were lost or came too late.",
            "cps",
            Query(rate("runcast_repairs_total", where=CHOSEN), "reads"),
            Query(rate("runcast_events_repaired_total", where=CHOSEN), "events"),
            width=6,
        ),
        graph(
            "Subscriber",
            "1: connected to the store's Pub/Sub. Without it events come by repair reads, later.",
            "short",
            Query(f"runcast_subscriber_connected{{{CHOSEN}}}", "connected {{instance}}"),
            Query(rate("runcast_subscriber_reconnects_total", where=CHOSEN), "reconnects per second"),
            Query(f"runcast_draining{{{CHOSEN}}}", "draining {{instance}}"),
            width=6,
        ),
        graph(
            "Channels",
            "Session logs that this gateway follows.",
            "short",
            Query(f"runcast_channels{{{CHOSEN}}}", "{{instance}}"),
            width=6,
        ),
    ),
)

AUDIT = Row(
    "Audit and commands",
    (
        graph(
            "Gaps told, by reason",
            "trimmed and gone: the client came back too late. unknown_cursor: it came with another log's cursor."
            " rewound: the store lost writes.",
            "cps",
            Query(rate("runcast_gaps_total", "reason", where=CHOSEN), "{{reason}}"),
            width=6,
        ),
        graph(
            "Canary",
            "Its way from a worker's append to this gateway's delivery, and how long ago the last one came.",
            "s",
            Query(quantile(0.99, "runcast_canary_seconds", where=CHOSEN), "append to delivery, p99"),
            Query(mean("runcast_canary_seconds", where=CHOSEN), "append to delivery, mean"),
            Query(f"max(runcast_canary_age_seconds{{{CHOSEN}}})", "age"),
            width=6,
            log=True,
        ),
        graph(
            "Audit",
            "Canary events appended by workers and seen by a gateway run side by side, one of them for each gateway."
            " Lost and repeated stay 0.",
            "cps",
            Query("sum(rate(runcast_canary_appended_total[$__rate_interval]))", "appended"),
            Query(
                f"sum by (instance) (rate(runcast_canary_seen_total{{{CHOSEN}}}[$__rate_interval]))",
                "seen {{instance}}",
            ),
            Query(rate("runcast_events_lost_total", where=CHOSEN), "lost"),
            Query(rate("runcast_events_repeated_total", where=CHOSEN), "repeated"),
            width=6,
        ),
        graph(
            "Commands of WebSocket clients",
            "Forwarded to the api, by the status of its answer.",
            "cps",
            Query(
                or_zero(rate("runcast_commands_total", "type", "status", where=CHOSEN), "type"), "{{type}} {{status}}"
            ),
            width=6,
        ),
    ),
)

GATEWAY = Board(
    "runcast-gateway",
    "Runcast / Gateway",
    "Who listens, how soon they are told, and how they catch up.",
    (STREAMS, DELIVERY, CATCHING_UP, HUB, AUDIT, process_row("gateway")),
    (instances("gateway"),),
)
