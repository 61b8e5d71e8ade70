"""What the api must answer to a command, as a function of what the log says of the task. Pure, and written from
docs/protocol.md, not from the code."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from runcast_events.states import TERMINAL

Kind = Literal["pause", "resume", "cancel", "input", "approve", "reject"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class View:
    """A task at one moment. `waiting`: the call of its last question; `decided`: by call, (decision, arguments).
    `model`: its agent has one. `answered`: that one was asked for the last time. `said`: ids of accepted inputs."""

    state: str
    waiting: str | None
    decided: dict[str, tuple[str, Any]]
    model: bool = True
    answered: bool = False
    said: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Command:
    """`text`, `input_id`: of an input. `call`, `arguments`: of a decision."""

    kind: Kind
    text: str = ""
    input_id: str | None = None
    call: str = ""
    arguments: dict[str, Any] | None = None

    def request(self, task_id: str) -> tuple[str, dict[str, Any] | None]:
        """Path and body."""
        path = f"/api/tasks/{task_id}"
        if self.kind in ("approve", "reject"):
            body: dict[str, Any] = {"decision": self.decision}
            if self.arguments is not None:
                body["arguments"] = self.arguments
            return f"{path}/approvals/{self.call}", body
        said = {"text": self.text, "input_id": self.input_id}
        return f"{path}/{self.kind}", said if self.kind == "input" else None

    @property
    def decision(self) -> str:
        return "approved" if self.kind == "approve" else "rejected"


@dataclass(frozen=True)
class Expected:
    """`code`: of a problem. `state`: that is told. `event`: what is in the log by then, and was not before."""

    status: int
    code: str | None = None
    state: str | None = None
    event: str | None = None


def allowed(command: Command, view: View) -> set[Expected]:
    """The right answers at that moment."""
    found = {expected(command, view)}
    heard = command.input_id in view.said
    if command.kind == "input" and view.state == "running" and view.answered and not heard:
        found.add(
            Expected(409, "illegal_state", view.state)
        )  # it has looked for the last time whether something is said
    return found


def expected(command: Command, view: View) -> Expected:
    """The right answer, but for what the log does not tell."""
    state = view.state
    illegal = Expected(409, "illegal_state", state)
    match command.kind:
        case "pause":
            if state == "queued":
                return Expected(202, state="paused", event="task_paused")
            return Expected(202, state=state) if state in ("paused", "running") else illegal
        case "resume":
            if state == "paused":
                return Expected(202, state="queued", event="task_resumed")
            return Expected(202, state=state) if state in ("queued", "running") else illegal
        case "cancel":
            if state in TERMINAL:
                return Expected(200, state=state)
            if state == "running":
                return Expected(202, state=state)
            return Expected(202, state="cancelled", event="task_cancelled")
        case "input":
            if not view.model:
                return Expected(422, "no_input")
            if command.input_id in view.said:
                return Expected(202, state=state)
            return illegal if state in TERMINAL else Expected(202, state=state)
        case _:
            return _decided(command, view, illegal)


def _decided(command: Command, view: View, illegal: Expected) -> Expected:
    waits = view.state == "waiting_approval" and view.waiting == command.call
    if waits:
        return Expected(202, state="queued", event="approval_resolved")
    if view.state in TERMINAL:  # what was decided is gone with its journal, but for the last question
        return illegal if view.waiting == command.call else Expected(404, "not_found")
    before = view.decided.get(command.call)
    if before is None:
        return Expected(404, "not_found")
    same = before == (command.decision, command.arguments)
    return Expected(202, state=view.state) if same else illegal
