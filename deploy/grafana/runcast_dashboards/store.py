"""Redis & log: what is written, how fast the store takes it, and whether it keeps it."""

from runcast_dashboards.panel import Board, Query, Row, Variable, graph, stat
from runcast_dashboards.queries import PER_INTERVAL, mean, or_zero, quantiles, rate

CHOSEN = 'instance=~"$instance"'


def _each(metric: str) -> str:
    """Per second, of each store."""
    return f"rate({metric}{{{CHOSEN}}}{PER_INTERVAL})"


STATE = Row(
    "Is it well?",
    (
        stat("Up", "Whether the exporter reaches the store.", "short", Query(f"min(redis_up{{{CHOSEN}}})")),
        stat(
            "Last write to disk",
            "1: the last write of the append-only file went well. 0: the disk is full or failing.",
            "short",
            Query(f"min(redis_aof_last_write_status{{{CHOSEN}}})"),
        ),
        stat(
            "Evicted keys",
            "In the chosen time. It stays 0: the policy must be noeviction.",
            "short",
            Query(f"sum(increase(redis_evicted_keys_total{{{CHOSEN}}}[$__range]))"),
            bad=1,
        ),
        stat(
            "Logs rewound",
            "In the chosen time: how often a log had lost its tail, which its writer then wrote again.",
            "short",
            Query("sum(increase(runcast_log_rewinds_total[$__range]))"),
            bad=1,
        ),
        stat("Replicas", "That are connected.", "short", Query(f"sum(redis_connected_slaves{{{CHOSEN}}})")),
        stat(
            "Up since",
            "A store that restarted by itself has perhaps lost its last second.",
            "s",
            Query(f"min(redis_uptime_in_seconds{{{CHOSEN}}})"),
        ),
    ),
)

LOG = Row(
    "The log",
    (
        graph(
            "Append",
            "How long a batch of events takes to be in the log: the store's time and the way there and back.",
            "s",
            *quantiles("runcast_append_seconds"),
            width=6,
            log=True,
            bad=0.25,
        ),
        graph(
            "Events by type",
            "What attempts write.",
            "cps",
            Query(rate("runcast_events_written_total", "type"), "{{type}}"),
            width=6,
            stacked=True,
        ),
        graph(
            "Events per append",
            "The mean. It rises with load: what comes while an append is under way goes with the next.",
            "short",
            Query(mean("runcast_append_events"), "events"),
            width=6,
        ),
        graph(
            "Bytes and trims",
            "Payload appended, and events that left a log at its bound (RUNCAST_LOG_MAX_BYTES,"
            " RUNCAST_LOG_MAX_ENTRIES).",
            "short",
            Query(rate("runcast_log_bytes_total"), "bytes per second"),
            Query(rate("runcast_log_trimmed_total"), "events trimmed per second"),
            Query(rate("runcast_log_rewinds_total"), "rewinds per second"),
            width=6,
            log=True,
        ),
    ),
)

MEMORY = Row(
    "Memory and disk",
    (
        graph(
            "Memory",
            "used is the data; rss is what the process has of the machine. At the limit writes are refused.",
            "bytes",
            Query(f"redis_memory_used_bytes{{{CHOSEN}}}", "used {{instance}}"),
            Query(f"redis_memory_used_rss_bytes{{{CHOSEN}}}", "rss {{instance}}"),
            Query(f"redis_memory_max_bytes{{{CHOSEN}}} > 0", "limit {{instance}}"),
            width=6,
        ),
        graph(
            "Keys",
            "A session has some ten while it lives, and loses them RUNCAST_SESSION_TTL_S after its last task.",
            "short",
            Query(f"sum by (instance, db) (redis_db_keys{{{CHOSEN}}}) > 0", "{{instance}} {{db}}"),
            Query(f"sum by (instance) (redis_db_keys_expiring{{{CHOSEN}}})", "expiring {{instance}}"),
            width=6,
        ),
        graph(
            "Append-only file",
            "Its size. It is rewritten when it has doubled.",
            "bytes",
            Query(f"redis_aof_current_size_bytes{{{CHOSEN}}}", "{{instance}}"),
            Query(f"redis_aof_base_size_bytes{{{CHOSEN}}}", "after the last rewrite {{instance}}"),
            width=6,
        ),
        graph(
            "Stalls",
            "The last fork: the store answers nobody meanwhile; it grows with memory. Delayed fsyncs: the disk is"
            " slower than the writes.",
            "s",
            Query(f"redis_latest_fork_seconds{{{CHOSEN}}}", "last fork {{instance}}"),
            Query(_each("redis_aof_delayed_fsync"), "delayed fsyncs per second {{instance}}"),
            width=6,
        ),
    ),
)

COMMANDS = Row(
    "Commands",
    (
        graph(
            "Commands",
            "Per second, those that are asked most.",
            "ops",
            Query(f"topk(10, sum by (cmd) ({_each('redis_commands_total')}))", "{{cmd}}"),
            width=6,
        ),
        graph(
            "Time of a command",
            "The mean, within the store, of those that take most of its time.",
            "s",
            Query(
                f"topk(10, sum by (cmd) ({_each('redis_commands_duration_seconds_total')}))"
                f" / (sum by (cmd) ({_each('redis_commands_total')}) > 0)",
                "{{cmd}}",
            ),
            width=6,
            log=True,
        ),
        graph(
            "Where its time goes",
            "Share of one core by command: a store runs one command at a time, so that at 100 % it is full.",
            "percentunit",
            Query(f"topk(10, sum by (cmd) ({_each('redis_commands_duration_seconds_total')}))", "{{cmd}}"),
            width=6,
            stacked=True,
        ),
        graph(
            "CPU",
            "Cores of the store's process.",
            "short",
            Query(_each("redis_cpu_user_seconds_total"), "user {{instance}}"),
            Query(_each("redis_cpu_sys_seconds_total"), "system {{instance}}"),
            width=6,
            bad=0.9,
        ),
    ),
)

CLIENTS = Row(
    "Clients",
    (
        graph(
            "Clients",
            "Connections, and those that wait in a blocking command.",
            "short",
            Query(f"redis_connected_clients{{{CHOSEN}}}", "connected {{instance}}"),
            Query(f"redis_blocked_clients{{{CHOSEN}}}", "blocked {{instance}}"),
        ),
        graph(
            "Network",
            "Bytes from and to clients; replays and repairs are what goes out.",
            "Bps",
            Query(_each("redis_net_input_bytes_total"), "in {{instance}}"),
            Query(_each("redis_net_output_bytes_total"), "out {{instance}}"),
        ),
        graph(
            "Refused",
            "Connections above maxclients, and commands that the store answered with an error.",
            "cps",
            Query(_each("redis_rejected_connections_total"), "connections {{instance}}"),
            Query(_each("redis_total_error_replies"), "errors {{instance}}"),
            Query(or_zero(f"sum by (cmd) ({_each('redis_commands_failed_calls_total')}) > 0", "cmd"), "failed {{cmd}}"),
        ),
    ),
)

STORE = Board(
    "runcast-store",
    "Runcast / Redis & log",
    "What is written, how fast the store takes it, and whether it keeps it.",
    (STATE, LOG, MEMORY, COMMANDS, CLIENTS),
    (Variable("instance", "redis_up", "instance"),),
)
