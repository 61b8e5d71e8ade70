"""What all runs came to: medians, and ratios of runs of the same round."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

Cell = tuple[str, str]
"""Of a workload and a system."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a cell. `wrong`: what was not delivered as it must be; such a run has no figures that count."""

    cell: Cell
    round: int
    figures: Mapping[str, float]
    wrong: str = ""


@dataclass(slots=True)
class Results:
    """Runs, in the order in which they were made."""

    runs: list[Run] = field(default_factory=list)

    def right(self, cell: Cell) -> dict[int, Mapping[str, float]]:
        """The figures of a cell by round."""
        return {run.round: run.figures for run in self.runs if run.cell == cell and not run.wrong}

    def medians(self, cell: Cell) -> dict[str, float]:
        """Figure by figure; empty where no run was right."""
        found = list(self.right(cell).values())
        return {name: median(figures[name] for figures in found) for name in found[0]} if found else {}

    def median(self, cell: Cell, figure: str) -> float | None:
        return self.medians(cell).get(figure)

    def ratios(self, cell: Cell, beside: Cell, figure: str) -> list[float]:
        """Round by round, where both have the figure."""
        ours, theirs = self.right(cell), self.right(beside)
        return [ours[each][figure] / theirs[each][figure] for each in sorted(ours.keys() & theirs.keys())]

    def ratio(self, cell: Cell, beside: Cell, figure: str) -> float | None:
        """The median of the ratios: minutes differ by more than systems do, rounds do not."""
        found = self.ratios(cell, beside, figure)
        return median(found) if found else None

    def cells(self) -> list[Cell]:
        """In the order in which they were first run."""
        return list(dict.fromkeys(run.cell for run in self.runs))

    def wrongs(self) -> list[Run]:
        return [run for run in self.runs if run.wrong]
