"""Every pair of commands, the second right after the first, at every event of a task: a table, walked through."""

import asyncio
import random
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

import runcast_worker.reaper.late
from runcast_tasks.inputs import Input, Inputs
from runcast_worker.attempt.asked import Watch
from runcast_worker.toolbox.approvals import Approvals
from tests.commands import desk as desk_module
from tests.commands.desk import Desk
from tests.commands.model import KINDS, Command, Kind
from tests.commands.moving import advance
from tests.commands.stage import Plan, Stage

PLAN: Plan = (("todo", "get"), ("todo",))
"""A turn with a call that is made at once and one that needs an approval, one more turn, and the answer."""
CALL = "1.1"
AT_ONCE = 24
SEED = 20261121
SAMPLE = 21
Case = tuple[int | Kind, ...]
"""To how many events of its log the session goes, and what is commanded there."""
KNOWN: list[Case] = [(17, "pause", 20, "resume"), (37, "input", "reject"), (12, "cancel", "approve")]
"""Each has found something once."""


async def length(stage: Stage) -> int:
    """How many events the task has when nobody but an approval disturbs it."""
    desk = Desk(stage)
    session = await desk.submit_new(True, "careful", PLAN)
    while not session.story.at_rest:
        await advance(desk, session, len(session.log) + 1)
    count = len(session.log)
    await desk.finish()
    return count


async def play(desk: Desk, case: Case, played: dict[str, Case]) -> None:
    session = await desk.submit_new(True, "careful", PLAN)
    played[session.id] = case
    for each in case:
        if isinstance(each, int):
            await advance(desk, session, each)
        else:
            text = desk.stage.name("I") if each == "input" else ""
            await desk.command(session.order[0], Command(each, text=text, call=CALL), again=False)


async def walk(stage: Stage, cases: list[Case]) -> None:
    for start in range(0, len(cases), AT_ONCE):
        stage.forget()
        notes: list[str] = []
        played: dict[str, Case] = {}
        desk = Desk(stage, notes.append)
        try:
            await asyncio.gather(*(play(desk, case, played) for case in cases[start : start + AT_ONCE]))
            await desk.finish()
        except AssertionError as error:
            about = {session: case for session, case in played.items() if f"{session}." in str(error)}
            said = "\n".join(line for line in notes if any(f"{session}." in line for session in about))
            raise AssertionError(f"{about or played}: {error}\n{said}") from error


def cases(stage: Stage, runner: asyncio.Runner) -> list[Case]:
    return list(product(range(3, runner.run(length(stage)) + 1), KINDS, KINDS))


def test_a_sample_of_pairs_of_commands_does_what_the_model_says(on_stage: tuple[Stage, asyncio.Runner]) -> None:
    """Some of the table, always the same."""
    stage, runner = on_stage
    chosen = random.Random(SEED).sample(cases(stage, runner), SAMPLE)
    runner.run(walk(stage, KNOWN + chosen))


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_every_pair_of_commands_at_every_event_does_what_the_model_says(on_stage: tuple[Stage, asyncio.Runner]) -> None:
    """The whole table."""
    stage, runner = on_stage
    table = cases(stage, runner)
    runner.run(walk(stage, table))
    print(f"{len(table)} cases: {dict(stage.seen)}")


def regardless(self: Approvals, iteration: int, index: int, name: str, arguments: Any) -> tuple[Any, None]:
    return arguments, None


class Unasked:
    """A pause that nobody sees."""

    def __get__(self, *_: object) -> None:
        return None

    def __set__(self, *_: object) -> None:
        pass


read = Inputs.read


async def without_an_end(self: Inputs, *, last: bool = False) -> Sequence[Input]:
    return await read(self)


MISTAKES: dict[str, tuple[Any, str, Any, Case]] = {
    "a resume comes too late": (runcast_worker.reaper.late, "asked_for", lambda *_: None, KNOWN[0]),
    "a rejected call is made": (Approvals, "decided", regardless, (15, "reject")),
    "a pause is not seen": (Watch, "pause", Unasked(), (10, "pause")),
    "what is said last is not heard": (Inputs, "read", without_an_end, (37, "input")),
}


@pytest.mark.full
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_product_is_found(
    on_stage: tuple[Stage, asyncio.Runner], monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    """The table can fail."""
    stage, runner = on_stage
    where, name, wrong, case = MISTAKES[mistake]
    monkeypatch.setattr(where, name, wrong, raising=False)
    monkeypatch.setattr(desk_module, "END_S", 3.0)
    with pytest.raises(AssertionError) as caught:
        runner.run(walk(stage, [case]))
    print(f"{mistake}: {caught.value!s:.200}")
