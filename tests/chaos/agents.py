"""Python agents of the chaos tests, as workers run them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

from runcast_worker.python import NextIteration, Say, Step, Task, ToolFailed, Used


async def walk(task: Task) -> AsyncIterator[Step]:
    """Goes through the planned turns: says something, makes calls side by side, and notes where it is, each
    `checkpoint_every` turns (0: never)."""
    turns, every = task.params["turns"], task.params["checkpoint_every"]
    for number in range(task.checkpoint or 0, len(turns)):
        turn = turns[number]
        if number > (task.checkpoint or 0):
            yield NextIteration(checkpoint=number if every and number % every == 0 else None)
        for word in turn["text"].split(" "):
            yield Say(word + " ")
            await asyncio.sleep(turn["pace_s"])
        yield Used("walker", input=10 + number, output=1, cached=number)
        others = [_call(task, name) for name in turn["others"]]
        await asyncio.gather(*(_call(task, "shell", command=command) for command in turn["commands"]), *others)


async def _call(task: Task, name: str, **arguments: str) -> None:
    """It goes on where nobody knows what the call did."""
    try:
        await task.call(name, **arguments)
    except ToolFailed as failed:
        if failed.code != "interrupted":
            raise


async def leave(task: Task) -> AsyncIterator[Step]:
    """Takes its worker with it, as soon as it has said so."""
    yield Say("I go")
    await asyncio.sleep(0.1)
    if task.params["how"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)
