"""A state machine over the real api: commands to tasks that stand at an event of the machine's choice, or run freely.
Each answer is compared with the model's; what the logs, the model's stub and the pages have seen is checked at the end.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, ClassVar, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.commands import moving, sessions
from tests.commands.desk import MISSING, Desk
from tests.commands.model import Command, Kind
from tests.commands.stage import Plan, Stage

T = TypeVar("T")
PLANS: list[Plan] = [
    (),
    (("todo",),),
    (("get",),),
    (("todo", "get"), ("get", "get")),
    (("hold",),),
    (("todo",), ("hold", "todo"), ("get",)),
]
PICK = st.integers(0, 2**16)
PLAN = st.sampled_from(PLANS)


def pick(which: int, found: Iterable[T]) -> T | None:
    """One of them, if there is any."""
    listed = list(found)
    return listed[which % len(listed)] if listed else None


class CommandMachine(RuleBasedStateMachine):
    """`stage` and `runner` are set by the test: opened once, they serve all examples."""

    stage: ClassVar[Stage]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        self.desk, self.failed = Desk(self.stage, note), False
        self.stage.forget()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self.runner.run(coroutine)
        except BaseException:
            self.failed = True
            raise

    def teardown(self) -> None:
        if not self.failed:
            self.run(self.desk.finish())

    @initialize(held=st.booleans(), agent=st.sampled_from(["llm", "careful", "steps"]), plan=PLAN)
    def begin(self, held: bool, agent: str, plan: Plan) -> None:
        self.run(self.desk.submit_new(held, agent, plan))

    # --- tasks -----------------------------------------------------------------------------------------------------
    # What is drawn never depends on how far tasks have come: hypothesis must be able to draw the same again. So rules
    # pick by numbers, and do nothing where there is nothing to pick.

    @rule(held=st.booleans(), agent=st.sampled_from(["llm", "careful", "careful", "steps"]), plan=PLAN)
    def submit_to_a_new_session(self, held: bool, agent: str, plan: Plan) -> None:
        if len(self.desk.sessions) < 3:
            self.run(self.desk.submit_new(held, agent, plan))

    @rule(
        which=PICK,
        on_busy=st.sampled_from(["enqueue", "reject", "interrupt"]),
        agent=st.sampled_from(["llm", "careful"]),
        plan=PLAN,
    )
    def submit_again(self, which: int, on_busy: str, agent: str, plan: Plan) -> None:
        session = pick(which, self.desk.sessions.values())
        if session is not None and len(self.desk.told) < 6:
            self.run(self.desk.submit(session, agent, plan, on_busy))

    @rule(which=PICK, count=st.integers(1, 6))
    def step(self, which: int, count: int) -> None:
        """Let a held session's task go on by some events."""
        session = pick(which, [session for session in self.desk.sessions.values() if session.held])
        if session is not None:
            self.run(moving.step(self.desk, session, count))

    @rule(ms=st.integers(0, 20))
    def wait(self, ms: int) -> None:
        """What is not held goes on meanwhile."""
        self.run(asyncio.sleep(ms / 1000))
        self.run(self.desk.observe_all())

    @rule()
    def answer_pages(self) -> None:
        self.stage.pages.let_go()

    # --- commands --------------------------------------------------------------------------------------------------

    @rule(which=PICK, kind=st.sampled_from(["pause", "resume", "cancel", "input", "input"]), again=st.booleans())
    def command(self, which: int, kind: Kind, again: bool) -> None:
        task_id = pick(which, self.desk.told)
        if task_id is not None:
            text = self.stage.name("I") if kind == "input" else ""
            self.run(self.desk.command(task_id, Command(kind, text=text), again))

    @rule(which=PICK, kind=st.sampled_from(["approve", "approve", "reject"]), other=st.booleans(), again=st.booleans())
    def decide(self, which: int, kind: Kind, other: bool, again: bool) -> None:
        """About a call that waits, or waited; with other arguments than the model's, or its own."""
        asking = pick(which, self.desk.asking())
        if asking is not None:
            task_id, call = asking
            arguments = None
            if other and kind == "approve":
                asked = self.desk.story(task_id).tasks[task_id].asked[call]
                arguments = {"url": asked["url"].partition("?")[0] + "?other"}
            self.run(self.desk.command(task_id, Command(kind, call=call, arguments=arguments), again))

    @rule(which=PICK, kinds=st.lists(st.sampled_from(["pause", "resume", "cancel", "input"]), min_size=2, max_size=3))
    def at_once(self, which: int, kinds: list[Kind]) -> None:
        """Several commands in the same moment: each is answered as if they had come in some order."""
        task_id = pick(which, self.desk.told)
        if task_id is not None:
            commands = [Command(kind, text=self.stage.name("I") if kind == "input" else "") for kind in kinds]
            self.run(self.desk.at_once(task_id, commands))

    @rule(kind=st.sampled_from(["pause", "resume", "cancel", "input", "approve"]))
    def command_what_is_not_there(self, kind: Kind) -> None:
        answer = self.run(self.desk.send(MISSING, Command(kind, text="x", call="1.0")))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text

    @rule(which=PICK)
    def take_for_dead(self, which: int) -> None:
        """As if its worker had vanished; but it is alive, and finds out only later."""
        found = pick(which, self.desk.running_held())
        if found is not None:
            self.run(moving.take_for_dead(self.desk, *found))

    @rule(seldom=st.integers(0, 2))
    def deploy(self, seldom: int) -> None:
        if seldom == 0:
            self.run(moving.deploy(self.desk))

    # --- sessions --------------------------------------------------------------------------------------------------

    @rule(which=PICK, event=PICK, again=st.booleans())
    def fork(self, which: int, event: int, again: bool) -> None:
        session = pick(which, self.desk.sessions.values())
        if session is not None:
            self.run(sessions.fork(self.desk, session, event % len(session.log), again))

    @rule(which=PICK, force=st.booleans(), seldom=st.integers(0, 3))
    def delete(self, which: int, force: bool, seldom: int) -> None:
        session = pick(which, self.desk.sessions.values())
        if session is not None and seldom == 0:
            self.run(sessions.delete(self.desk, session, force))
