"""What is measured and how it is shown: CPU and memory of a process, percentiles, tables."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

Figures = Mapping[str, float]
"""Name with its unit, and value."""


def cpu_s(pid: int) -> float:
    """CPU seconds of all live threads of a process, to the nanosecond: /proc/PID/stat counts in ticks of 10 ms."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def rss_kb(pid: int) -> int:
    """Resident memory without what is mapped from files, which several processes share."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon", "RssShmem")))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def latencies(took_ms: Sequence[float]) -> dict[str, float]:
    """How they are spread."""
    shares = {"p50 ms": 0.5, "p90 ms": 0.9, "p99 ms": 0.99, "max ms": 1.0}
    return {name: percentile(took_ms, share) for name, share in shares.items()}


def medians(rounds: Sequence[Figures]) -> dict[str, float]:
    """Figure by figure, over rounds that measured the same."""
    return {name: median(figures[name] for figures in rounds) for name in rounds[0]}


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure has to reach; `correct`: not a matter of speed, so missing it fails the run."""

    text: str
    met: bool
    correct: bool = False


@dataclass(slots=True)
class Report:
    """What one benchmark found: cases with their figures, bars, and what a reader has to know."""

    name: str
    cases: list[tuple[str, Figures]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, case: str, figures: Figures) -> None:
        self.cases.append((case, figures))

    def table(self) -> str:
        """Markdown: a table for every run of cases that have the same figures."""
        lines = [f"## {self.name}"]
        names: list[str] = []
        for case, figures in self.cases:
            if list(figures) != names:
                names = list(figures)
                lines += ["", f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
            lines.append(f"| {case} | {' | '.join(map(_short, figures.values()))} |")
        lines += ["", *(f"- bar: {bar.text}: {'met' if bar.met else '**missed**'}" for bar in self.bars)]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def json_lines(self) -> str:
        """A line a case and a line a bar."""
        documents: list[Mapping[str, object]] = [{"case": case, **figures} for case, figures in self.cases]
        documents += [{"bar": bar.text, "met": bar.met} for bar in self.bars]
        return "\n".join(json.dumps({"benchmark": self.name, **document}) for document in documents)


def _short(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def machine() -> str:
    """Where this runs, in a few words."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = models[0].partition(":")[2].strip() if models else os.uname().machine
    return f"{os.cpu_count()} x {name}, Linux {os.uname().release.partition('-')[0]}"
