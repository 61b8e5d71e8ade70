"""Where in a file a text that is not there was probably meant, so that a model can mend its edit. Pure."""

from difflib import SequenceMatcher

LOOKED_LINES = 4000
LINE_CHARS = 200
SHOWN = 3
SIMILAR = 0.6
"""Least similarity (0 to 1) of a line that is worth showing."""


def closest_lines(text: str, wanted: str) -> str:
    """A sentence with the lines that are most like the first line of `wanted` that says something."""
    lines = text.split("\n")
    first = next((line.strip() for line in wanted.split("\n") if line.strip()), "")
    if not first:
        return "It consists of blanks alone."
    same = [number for number, line in enumerate(lines, 1) if line.strip() == first]
    if same:
        return f"Its first line is there, but what follows or the blanks differ: {_shown(lines, same[:SHOWN])}"
    within = [number for number, line in enumerate(lines, 1) if first in line]
    if within:
        return f"Its first line is part of {_shown(lines, within[:SHOWN])}"
    similar = _similar(lines, first[:LINE_CHARS])
    if not similar:
        return f"No line is like its first one, {first[:LINE_CHARS]!r}; read the file again."
    return f"The closest: {_shown(lines, similar)}"


def _similar(lines: list[str], first: str) -> list[int]:
    """The numbers of the most similar lines, the best first."""
    matcher = SequenceMatcher(None, "", first, autojunk=False)  # it remembers what it knows of the second text
    found: list[tuple[float, int]] = []
    for number, line in enumerate(lines[:LOOKED_LINES], 1):
        matcher.set_seq1(line.strip()[:LINE_CHARS])
        if matcher.real_quick_ratio() >= SIMILAR and matcher.quick_ratio() >= SIMILAR:
            found.append((-matcher.ratio(), number))
    return [number for ratio, number in sorted(found)[:SHOWN] if -ratio >= SIMILAR]


def _shown(lines: list[str], numbers: list[int]) -> str:
    return "; ".join(f"line {number}: {lines[number - 1][:LINE_CHARS]!r}" for number in numbers)
