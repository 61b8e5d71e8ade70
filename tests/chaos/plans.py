"""What the tasks of a run are to do, drawn by lot: the same seed draws the same. And the model that has them do it."""

import json
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import JsonValue

from runcast_local.model import Answer, Asked, Call, Refusal, Stall, Turn, says
from tests.chaos.recording import Request

AGENTS = """
[agents.llm]
engine = "llm"
model = "planned"
tools = ["shell", "list_files"]

[agents.walker]
engine = "python"
entry = "tests.chaos.agents:walk"
tools = ["shell", "list_files"]

[agents.leaver]
engine = "python"
entry = "tests.chaos.agents:leave"
"""
SERVER = Path(__file__).parents[1] / "worker" / "mcp" / "servers" / "raw.py"
SERVED = f"""
[agents.served]
engine = "llm"
model = "planned"
tools = []
[agents.served.mcp.own]
command = [{json.dumps(sys.executable)}, {json.dumps(str(SERVER))}, "silent"]
"""
EFFECTS = "effects"
"""File of a workspace to which each planned command appends a line of its own."""
WORDS = (
    "I look at the",
    "numbers again,",
    "then count",
    "what is there",
    "and write it",
    "down: so far",
    "all is well.",
)


@dataclass(frozen=True, slots=True)
class PlannedTurn:
    """`commands`: for calls of the tool shell; `others`: tools that are called without arguments, side by side with
    these. `stalls`: when a model is asked for it the first time, it says the text and then nothing any more."""

    text: str
    pace_s: float
    commands: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    stalls: bool = False


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """`name`: the first word of its prompt, by which the model and its effects know it."""

    name: str
    session_id: str
    agent: str
    turns: tuple[PlannedTurn, ...]
    checkpoint_every: int = 0
    how: str = ""
    """Of a leaver: how it takes its worker with it."""

    @property
    def prompt(self) -> str:
        return f"{self.name}: do as planned"

    @property
    def params(self) -> dict[str, JsonValue]:
        if self.agent == "leaver":
            return {"how": self.how}
        if self.agent != "walker":
            return {}
        turns = json.loads(json.dumps([asdict(turn) for turn in self.turns]))
        return {"turns": turns, "checkpoint_every": self.checkpoint_every}

    @property
    def answer(self) -> str:
        return self.turns[-1].text


def draw(seed: int, number: int, session_id: str, *, turns: tuple[int, int], hurry: float = 1.0) -> PlannedTask:
    """The task of that number. Most are a model's, some a function's, with checkpoints often, seldom or never; long
    and short calls; `hurry`: how many times as fast."""
    chance = random.Random(f"{seed} {number}")
    name = f"t{number:03}"
    agent, every = chance.choice([("llm", 0), ("llm", 0), ("llm", 0), ("walker", 1), ("walker", 2), ("walker", 0)])
    count = chance.randint(*turns)
    planned = []
    for iteration in range(1, count + 1):
        text = " ".join(chance.sample(WORDS, chance.randint(2, len(WORDS))))
        calls = range(chance.choice([0, 1, 1, 2]) if iteration < count else 0)
        commands = tuple(_command(chance, leaves(name, iteration, index), hurry) for index in calls)
        pace_s = chance.choice([0.1, 0.2, 0.4]) / hurry
        looks = iteration < count and (not calls or chance.random() < 0.5)
        planned.append(PlannedTurn(text, pace_s, commands, ("list_files",) if looks else ()))
    return PlannedTask(name, session_id, agent, tuple(planned), every)


def leaves(name: str, iteration: int, index: int = 0) -> str:
    """A command that leaves the mark of this call."""
    return f"echo {name} {iteration}.{index} >> {EFFECTS}"


def _command(chance: random.Random, mark: str, hurry: float) -> str:
    """Leaves its mark at the beginning, in the middle, or at the end."""
    before_s, after_s = (chance.choice([0, 0.5, 1.0, 2.0]) / hurry for _ in range(2))
    return f"sleep {before_s:g}; {mark}; sleep {after_s:g}"


@dataclass
class Planned:
    """The tasks of a run. `script` is the model that plays them; `requests`: what it was asked."""

    tasks: dict[str, PlannedTask] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    _asked: list[tuple[str, int, float]] = field(default_factory=list)

    def script(self, asked: Asked) -> Answer:
        name = asked.prompt.partition(":")[0]
        prompt_at = max(at for at, message in enumerate(asked.messages) if message["role"] == "user")
        iteration = 1 + sum(message["role"] == "assistant" for message in asked.messages[prompt_at:])
        self._asked.append((name, iteration, time.time() * 1000))
        plan = self.tasks[name]
        if iteration > len(plan.turns):
            return Refusal(400, f"{name} has no iteration {iteration}")
        turn = plan.turns[iteration - 1]
        calls = [Call("shell", {"command": command}) for command in turn.commands]
        calls += [Call(name) for name in turn.others]
        if turn.stalls and [each[:2] for each in self._asked].count((name, iteration)) == 1:
            return Turn([*says(turn.text), Stall()])
        return Turn([*says(turn.text), *calls], pause_s=turn.pace_s)

    @property
    def requests(self) -> list[Request]:
        return [Request(self.ids[name], iteration, at_ms) for name, iteration, at_ms in self._asked]

    def effects(self, workspaces: Path) -> Mapping[tuple[str, str], int]:
        """How often each call left its mark, by task and call id."""
        found: dict[tuple[str, str], int] = {}
        for path in workspaces.glob(f"*/*/{EFFECTS}"):
            for line in path.read_text().splitlines():
                name, call_id = line.split(" ")
                found[self.ids[name], call_id] = found.get((self.ids[name], call_id), 0) + 1
        return found
