"""What is extracted from lines, and that looking for it holds up nobody."""

import asyncio
from time import monotonic

from runcast_worker.engines.process.lines import LINE_CHARS
from runcast_worker.engines.process.patterns import Patterns

SLOW = r"(?:a?){1000}(?:a?){1000}b"
"""As slow as re2 gets within its bound: about a tenth of a second for LINE_CHARS."""


async def test_slow_patterns_do_not_hold_up_the_event_loop() -> None:
    """They are searched for in a thread, and re2 leaves the interpreter to others."""
    patterns = Patterns({f"p{number}": SLOW for number in range(8)})
    searching = asyncio.create_task(patterns.extract("a" * LINE_CHARS, 1))
    began = before = monotonic()
    longest = 0.0
    while not searching.done():
        await asyncio.sleep(0.001)
        now = monotonic()
        longest, before = max(longest, now - before), now
    assert await searching == []
    assert longest < (before - began) / 3, "the loop stood still while a line was searched"


async def test_many_short_lines_leave_the_loop_to_others() -> None:
    """Each is quick; all together they are not."""
    patterns = Patterns({"p": SLOW})
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turning = asyncio.create_task(others())
    for number in range(100):
        assert await patterns.extract("a" * 20, number) == []
    turning.cancel()
    assert turns >= 30


async def test_a_thread_and_the_loop_find_the_same() -> None:
    """However long the line is."""
    patterns = Patterns({"group": "k=(?P<value>[0-9]+)", "first": "(k)=", "whole": "k=.", "none": "(x)?k"})
    for padding in (0, 100_000):
        line = " " * padding + "\x1b[1mk\x1b[0m=42"
        found = [(each.pattern, each.value, each.line_num) for each in await patterns.extract(line, 7)]
        assert found == [("group", "42", 7), ("first", "k", 7), ("whole", "k=4", 7)]
