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
from tests.commands.model import KINDS, Command, Kind
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
OFTEN = [kind for kind in KINDS for _ in range(1 if kind == "cancel" else 4)]
"""A cancel is the end of a task."""
Act = tuple[int, Kind, bool, bool]
ACTS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(OFTEN), st.booleans(), st.booleans()), min_size=2, max_size=8
)
"""Events to go on by, what is commanded then, with other arguments than the model's, and twice."""


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
        self.desk, self.failed = Desk(self.stage, self._note), False
        self.lines: list[str] = []
        self.stage.forget()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self.runner.run(coroutine)
        except BaseException:
            self.failed = True
            print("\n".join(self.lines))  # hypothesis tells of a second run, which may be another one
            raise

    def _note(self, line: str) -> None:
        self.lines.append(line)
        note(line)

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
        choices=st.lists(st.sampled_from(["enqueue", "reject", "interrupt"]), min_size=1, max_size=3),
        agent=st.sampled_from(["llm", "careful"]),
        plan=PLAN,
    )
    def submit_again(self, which: int, choices: list[str], agent: str, plan: Plan) -> None:
        session = pick(which, self.desk.sessions.values())
        if session is not None and len(self.desk.told) < 8:
            self.run(self.desk.submit(session, agent, plan, *choices))

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

    @rule(which=PICK, acts=ACTS)
    def command_what_is_held(self, which: int, acts: list[Act]) -> None:
        """One after the other, with some events of the task between them; some are sent twice."""
        self._command(pick(which, [task for task in self.desk.told if self.desk.session(task).held]), acts)

    @rule(which=PICK, acts=ACTS)
    def command_what_runs_freely(self, which: int, acts: list[Act]) -> None:
        self._command(pick(which, [task for task in self.desk.told if not self.desk.session(task).held]), acts)

    @rule(acts=ACTS)
    def command_the_newest(self, acts: list[Act]) -> None:
        self._command(next(reversed(self.desk.told), None), acts)

    def _command(self, task_id: str | None, acts: list[Act]) -> None:
        if task_id is None:
            return
        for count, kind, other, again in acts:
            self.run(moving.step(self.desk, self.desk.session(task_id), count))
            self.run(self.desk.command(task_id, self._make(task_id, kind, other, again), again))

    @rule(which=PICK, kind=st.sampled_from(["approve", "reject"]))
    def decide_again(self, which: int, kind: Kind) -> None:
        """About any call that was ever asked for."""
        asking = pick(which, self.desk.asking())
        if asking is not None:
            self.run(self.desk.command(asking[0], Command(kind, call=asking[1]), again=True))

    def _make(self, task_id: str, kind: Kind, other: bool = False, again: bool = False) -> Command:
        """`other`: than the model's arguments."""
        task = self.desk.story(task_id).tasks[task_id]
        text, call, arguments = self.stage.name("I") if kind == "input" else "", task.waiting or "1.0", None
        if other and kind == "approve" and call in task.asked:
            arguments = {"url": task.asked[call]["url"].partition("?")[0] + "?other"}
        return Command(kind, text=text, input_id=text if again else None, call=call, arguments=arguments)

    @rule(which=PICK, kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=3))
    def at_once(self, which: int, kinds: list[Kind]) -> None:
        """Several commands in the same moment: each is answered as if they had come in some order."""
        task_id = pick(which, self.desk.told)
        if task_id is not None:
            commands = [self._make(task_id, kind) for kind in kinds]
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

    @rule(seldom=st.integers(0, 5))
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
