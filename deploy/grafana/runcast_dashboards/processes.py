"""What every process shows of itself."""

from runcast_dashboards.panel import Panel, Query, Row, Variable, graph
from runcast_dashboards.queries import PER_INTERVAL, PROCESS


def instances(service: str) -> Variable:
    return Variable("instance", f'runcast_build_info{{service="{service}"}}', "instance")


def loop_lag(service: str = "", width: int = 8) -> Panel:
    """`service`: of that one's chosen instances; else of all processes."""
    buckets = f"rate(runcast_loop_lag_seconds_bucket{_chosen(service)}{PER_INTERVAL}) * {_joined(service)}"
    return graph(
        "Loop lag, p99",
        "How late the event loop of a process takes up what is due. Above 0.1 s everything that the process does is"
        " late: it has too much to do, or something blocks it.",
        "s",
        Query(f"histogram_quantile(0.99, sum by (le, service, instance) ({buckets}))", "{{service}} {{instance}}"),
        width=width,
        bad=0.1,
    )


def cpu(service: str = "", width: int = 8) -> Panel:
    return graph(
        "CPU",
        "Cores that a process uses. It has one event loop: near 1 it is full, and more processes are needed, not larger"
        " ones.",
        "short",
        Query(
            f"rate(process_cpu_seconds_total{_chosen(service)}{PER_INTERVAL}) * {_joined(service)}",
            "{{service}} {{instance}}",
        ),
        width=width,
        bad=0.9,
    )


def memory(service: str = "", width: int = 8) -> Panel:
    return graph(
        "Memory",
        "Resident memory of a process. It follows load and comes back; a rise without load is a leak.",
        "bytes",
        Query(f"process_resident_memory_bytes{_chosen(service)} * {_joined(service)}", "{{service}} {{instance}}"),
        width=width,
    )


def files(service: str = "", width: int = 8) -> Panel:
    return graph(
        "Open files, of the limit",
        "Every stream takes one. At the limit a process can accept nobody.",
        "percentunit",
        Query(
            f"process_open_fds{_chosen(service)} / process_max_fds * {_joined(service)}",
            "{{service}} {{instance}}",
        ),
        width=width,
        bad=0.8,
    )


def process_row(service: str) -> Row:
    panels = (loop_lag(service, 6), cpu(service, 6), memory(service, 6), files(service, 6))
    return Row("Processes", panels)


def _chosen(service: str) -> str:
    return '{instance=~"$instance"}' if service else ""


def _joined(service: str) -> str:
    return f'{PROCESS}{{service="{service}"}}' if service else PROCESS
