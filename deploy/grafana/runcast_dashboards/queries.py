"""PromQL that many panels have in common. `where`: a metric's selector, without braces."""

from runcast_dashboards.panel import Query

PER_INTERVAL = "[$__rate_interval]"
"""Grafana makes it four scrapes at least, so that a rate never lacks its two samples."""
PROCESS = "on (job, instance) group_left (service) runcast_build_info"
"""What a process's own metrics are joined with to know the service it is, whatever a deployment calls its jobs."""


def rate(metric: str, *by: str, where: str = "") -> str:
    """Per second, summed over processes."""
    return f"sum{_by(by)} (rate({metric}{_selector(where)}{PER_INTERVAL}))"


def quantile(share: float, histogram: str, *by: str, where: str = "") -> str:
    """Of a histogram (its name without _bucket), over all processes."""
    return f"histogram_quantile({share:g}, {rate(f'{histogram}_bucket', 'le', *by, where=where)})"


def mean(histogram: str, *by: str, where: str = "") -> str:
    return f"{rate(f'{histogram}_sum', *by, where=where)} / {rate(f'{histogram}_count', *by, where=where)}"


def share(part: str, whole: str) -> str:
    """Of two sums; 0 where there is nothing to share."""
    return f"({part} or vector(0)) / ({whole} > 0) or vector(0)"


def or_zero(expr: str, label: str = "") -> str:
    """Nothing found is good news, and is shown as zero; `label` is then "none"."""
    zero = f'label_replace(vector(0), "{label}", "none", "", "")' if label else "vector(0)"
    return f"{expr} or {zero}"


def quantiles(histogram: str, where: str = "") -> tuple[Query, ...]:
    return tuple(Query(quantile(each, histogram, where=where), f"p{100 * each:g}") for each in (0.5, 0.95, 0.99))


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _selector(where: str) -> str:
    return f"{{{where}}}" if where else ""
