"""A picture of a dashboard, for whoever reads docs/monitoring.md without a Grafana: a plot for each panel."""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle, pairwise
from math import isnan, nan
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

from runcast_dashboards.panel import Board, Panel, Query
from tests.monitoring.prometheus import Series

Answers = Mapping[Query, Sequence[Series]]
COLUMN_IN, ROW_IN = 0.62, {"stat": 0.95, "graph": 2.5}
TITLE_IN = 0.3
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#8ab8ff", "#ffb357", "#a352cc")
PAPER, PANEL, INK, LINES = "#111217", "#181b1f", "#ccccdc", "#2c3235"
MOST_NAMES = 7
SHADES = 192
"""Of the whole picture: it is lines on dark ground, and a third of the bytes."""
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"))


def draw(board: Board, answers: Answers, path: Path) -> None:
    """A PNG. Series keep the colours of their order."""
    lines = _lines(board)
    height = sum(height for _, height in lines)
    figure = Figure(figsize=(24 * COLUMN_IN, height), facecolor=PAPER)
    top = height
    with mpl.rc_context({"font.size": 7, "text.color": INK, "axes.edgecolor": LINES}):
        for line, line_in in lines:
            if isinstance(line, str):
                figure.text(0.008, (top - 0.21) / height, line, fontsize=10, fontweight="bold")
            else:
                left = 0
                below_in, around_in = (0.12, 0.4) if line[0].kind == "stat" else (0.32, 0.6)
                for panel in line:
                    bottom, tall = (top - line_in + below_in) / height, (line_in - around_in) / height
                    box = (left / 24 + 0.03, bottom, panel.width / 24 - 0.036, tall)
                    _panel(figure.add_axes(box), panel, answers)
                    left += panel.width
            top -= line_in
        drawn = BytesIO()
        figure.savefig(drawn, dpi=75, facecolor=PAPER)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(drawn).convert("RGB").quantize(SHADES, dither=Image.Dither.NONE).save(path, optimize=True)


def _lines(board: Board) -> list[tuple[str | list[Panel], float]]:
    """Titles of rows, and panels that stand side by side, each with its height."""
    lines: list[tuple[str | list[Panel], float]] = []
    for row in board.rows:
        lines.append((row.title, TITLE_IN))
        line: list[Panel] = []
        for panel in row.panels:
            line.append(panel)
            if sum(each.width for each in line) == 24:
                lines.append((line, ROW_IN[panel.kind]))
                line = []
    return lines


def _panel(axes: Axes, panel: Panel, answers: Answers) -> None:
    axes.set_facecolor(PANEL)
    axes.set_title(panel.title, loc="left", fontsize=7.5, color=INK, pad=3)
    if panel.kind == "stat":
        _stat(axes, panel, answers)
    else:
        _graph(axes, panel, answers)


def _stat(axes: Axes, panel: Panel, answers: Answers) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    series = answers[panel.queries[0]]
    shown = [
        f"{_name(panel.queries[0], each, panel)} {_text(each.points[-1][1], panel.unit)}".strip() for each in series
    ]
    colour = COLOURS[0]
    for bound, worse in ((panel.warn, "#ff9830"), (panel.bad, "#f2495c")):
        if bound is not None and series and series[0].points[-1][1] >= bound:
            colour = worse
    size = 17 if len(shown) == 1 else 9
    axes.text(
        0.5, 0.5, "\n".join(shown), ha="center", va="center", fontsize=size, color=colour, transform=axes.transAxes
    )


def _graph(axes: Axes, panel: Panel, answers: Answers) -> None:
    found = [(_name(query, each, panel), each) for query in panel.queries for each in answers[query]]
    began_s = min(each.points[0][0] for _, each in found)
    step_s = min((b[0] - a[0] for _, each in found for a, b in pairwise(each.points)), default=1)
    below: dict[float, float] = {}
    for (name, each), colour in zip(found, cycle(COLOURS), strict=False):
        times, values = _with_gaps(each, step_s)
        if panel.stacked:
            floor = [below.get(at, 0.0) for at in times]
            values = [low + value for low, value in zip(floor, values, strict=True)]
            below.update((at, value) for at, value in zip(times, values, strict=True) if not isnan(value))
            axes.fill_between([at - began_s for at in times], floor, values, color=colour, alpha=0.25, linewidth=0)
        axes.plot([at - began_s for at in times], values, color=colour, linewidth=0.9, label=name)
    if panel.bad is not None and not panel.log:
        axes.axhline(panel.bad, color="#f2495c", linewidth=0.7, linestyle="--")
    if panel.log and any(value > 0 for _, each in found for _, value in each.points):
        axes.set_yscale("log")
        axes.minorticks_off()
    else:
        axes.set_ylim(0, 1.25 * axes.dataLim.y1 or 1)  # the names stand above the lines
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _text(value, panel.unit)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    axes.tick_params(labelsize=6, colors=INK, length=2, pad=2)
    axes.grid(color=LINES, linewidth=0.5)
    if len(found) > 1 or panel.queries[0].legend:
        handles, names = axes.get_legend_handles_labels()
        more = [f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
        legend = axes.legend(
            handles[: MOST_NAMES + 1], names[:MOST_NAMES] + more, fontsize=5.5, ncols=2, loc="upper left",
            frameon=True, facecolor=PANEL, edgecolor="none", framealpha=0.6, labelcolor=INK,
        )  # fmt: skip
        legend.set_zorder(5)


def _with_gaps(series: Series, step_s: float) -> tuple[list[float], list[float]]:
    """Times and values; where a series was away its line is broken."""
    times: list[float] = []
    values: list[float] = []
    for at, value in series.points:
        if times and at - times[-1] > 1.5 * step_s:
            times.append(times[-1] + step_s)
            values.append(nan)
        times.append(at)
        values.append(value)
    return times, values


def _name(query: Query, series: Series, panel: Panel) -> str:
    """As Grafana makes it of the legend."""
    if panel.kind == "stat" and not query.legend:
        return ""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: series.labels.get(found[1], ""), query.legend).replace(
        "127.0.0.1", ""
    )


def _text(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "currencyUSD":
        return f"${value:.3g}"
    if value == 0:
        return "0"
    prefixes = PREFIXES if unit == "s" else PREFIXES[:4]
    size, prefix = next((each for each in prefixes if abs(value) >= each[0]), prefixes[-1])
    behind = {"s": "s", "bytes": "B", "Bps": "B/s", "cps": "/s", "reqps": "/s", "ops": "/s"}.get(unit, "")
    if unit == "s" and value >= 1:
        return f"{value:.3g} s"
    return f"{value / size:.3g} {prefix}{behind}".rstrip()
