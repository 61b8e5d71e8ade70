"""The llm engine against a stub of a model's server, with real tools in a real workspace."""

from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from runcast_agents import Agent
from runcast_events.codec import Envelope
from runcast_events.events import Event
from runcast_events.ids import new_task_id
from runcast_local.model import Stub
from runcast_tasks.conversation import Message
from runcast_tasks.record import TaskRecord, parse_record
from runcast_worker.attempt.limits import Meter
from runcast_worker.attempt.transcript import Transcript
from runcast_worker.engines import EngineError, EngineTask, Saved
from runcast_worker.engines.llm import LlmEngine, Models
from runcast_worker.engines.llm.asking import AskingLimits
from runcast_worker.metrics import Metrics
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.toolbox.toolbox import Toolbox
from runcast_worker.tools import Surroundings


class Play:
    """Runs one task of an llm agent. Afterwards: `events`, and `error` where it failed."""

    def __init__(self, base_url: str, workspace: Path, stub: Stub) -> None:
        self._workspace, self.stub = workspace, stub
        self.base_url: str | None = base_url
        self.limits = AskingLimits(silence_s=0.5, retries=2, first_wait_s=0.01)
        self.events: list[Event] = []
        self.error: EngineError | None = None
        self.metrics = Metrics()

    async def __call__(
        self, prompt: str, model: str = "mine", conversation: Sequence[Message] = (), **agent: Any
    ) -> list[str]:
        """The types of the events. Deltas that follow each other are shown once."""
        self.events, self.error = [], None
        settings = Agent.model_validate({"engine": "llm", "model": model, "tools": ["list_files", "shell"], **agent})
        surroundings = Surroundings(self._workspace)

        async def said() -> Sequence[Message]:
            return conversation

        async def acknowledged() -> None: ...

        toolbox = Toolbox(surroundings, settings.tools, acknowledged, self.metrics)
        meter = Meter(settings.limits)
        async with Models("openai", None, self.base_url) as models, toolbox:
            about = _record(prompt), settings, surroundings, toolbox, said, lambda: Redactor(())
            task = EngineTask(*about, metrics=self.metrics)
            try:
                async with aclosing(LlmEngine(models, self.limits).run(task)) as events:
                    async for step in events:
                        event = step.event if isinstance(step, Saved) else step
                        meter.see(event)
                        self.events.append(event)
            except EngineError as error:
                self.error = error
        return self._checked()

    def of(self, *types: str) -> list[Any]:
        return [event for event in self.events if event.event_type in types]

    @property
    def answer(self) -> str:
        transcript = Transcript()
        for event in self.events:
            transcript.see(event)
        return transcript.final_answer

    def _checked(self) -> list[str]:
        """Every event can be written; every part is opened, continued without a hole, and closed with the whole; none
        comes twice."""
        said: dict[str, str] = {}
        opened: set[str] = set()
        for event in self.events:
            Envelope("s1", "s1.abcdefghij", 1).encode(event)
            part: Any = event
            match event.event_type:
                case "output_start" | "thinking_start":
                    assert part.part_id not in said, "a part id came twice"
                    said[part.part_id] = ""
                    opened.add(part.part_id)
                case "output" | "thinking":
                    assert part.part_id in opened
                    assert part.offset == len(said[part.part_id])
                    said[part.part_id] += part.delta
                case "output_complete" | "think_complete":
                    assert part.content == said[part.part_id] != ""
                    opened.remove(part.part_id)
                case "iteration_reset":
                    opened.clear()
        assert not opened or self.error is not None
        types = [event.event_type for event in self.events]
        return [kind for i, kind in enumerate(types) if i == 0 or kind != types[i - 1]]


def _record(prompt: str) -> TaskRecord:
    return parse_record({"id": new_task_id("s1"), "state": "running", "prompt": prompt, "agent": "llm"})


@pytest.fixture
def play(base_url: str, tmp_path: Path, stub: Stub) -> Play:
    workspace = (tmp_path / "workspace").resolve()
    workspace.mkdir()
    (workspace / "a.py").write_text("one\n")
    return Play(base_url, workspace, stub)
