"""The results as pictures, PNG and SVG: by matplotlib, where that is installed."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gateway.measurements import CPU, KB, P99, REPLAYED
from benchmarks.gateway.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIVE = ("W1", "W2", "W3", "W4")
IDLE = ("IDLE1k", "IDLE5k", "IDLE10k")
REPLAY = ("REPLAY1", "REPLAY50")
PANELS = (("CPU, us a delivery", CPU, LIVE), ("p99, ms", P99, LIVE), ("KB an idle connection", KB, IDLE))
COLOURS = {"ours": "#2563eb", "nchan": "#d97706", "floor": "#9ca3af", "naive": "#dc2626"}


def draw(results: Results, name: Path) -> str:
    """Write `name`.png and `name`.svg; returns what to tell of it."""
    if find_spec("matplotlib") is None:
        return "no plots: matplotlib is not installed"
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    panels = (*PANELS, ("events a second, replayed", REPLAYED, REPLAY))
    for axes, (title, measure, workloads) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        _bars(axes, results, measure, workloads)
        axes.set_title(title)
    files = [name.with_suffix(suffix) for suffix in (".png", ".svg")]
    for file in files:
        figure.savefig(file)
    return f"plots: {files[0]}, {files[1].name}"


def _bars(axes: "Axes", results: Results, measure: str, workloads: Sequence[str]) -> None:
    """A group for each workload, in it a bar for each system. The scale is logarithmic: systems differ by decades."""
    systems = [name for name in COLOURS if any(system == name for _, system in results.cells())]
    width = 0.8 / max(1, len(systems))
    for number, system in enumerate(systems):
        heights = [results.median((workload, system), measure) for workload in workloads]
        shown = [(at, height) for at, height in enumerate(heights) if height is not None and height > 0]
        bars = axes.bar(
            [at + (number - (len(systems) - 1) / 2) * width for at, _ in shown],
            [height for _, height in shown],
            width,
            label=system,
            color=COLOURS[system],
        )
        axes.bar_label(bars, fmt="{:,.3g}", fontsize=7)
        if shown:
            axes.set_yscale("log")
    axes.set_xticks(range(len(workloads)), workloads)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
