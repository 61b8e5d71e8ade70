"""plan: the phases of the work, as people see them: made, begun and completed."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from runcast_events.events import Event, Phase, PhaseComplete, PhaseStart, PlanCreated
from runcast_worker.tools import Arguments, Surroundings, Tell, ToolFailed


class PlanArguments(Arguments):
    action: Literal["create", "start", "complete"]
    """create: make the plan, or a new one in its place (goal and phases). start: a phase begins (phase_id). complete:
    it is done (phase_id)."""
    goal: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """For create: what is to be reached, in a sentence."""
    phases: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(None, min_length=1, max_length=20)
    """For create: the names of the phases, in their order."""
    phase_id: Annotated[str, Field(max_length=64)] | None = None
    """For start and complete: as create answered it."""


class PlanTool:
    """The result lists the phases with their ids and states."""

    name = "plan"
    description = (
        "Plan the work in phases that people see: create the plan once, then start and complete each phase as you come "
        "to it. For work of several phases; small tasks need no plan, and single steps belong into todos."
    )
    arguments = PlanArguments
    changes = False

    async def call(self, arguments: PlanArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        if arguments.action == "create":
            return await _create(arguments, tell)
        known = [dict(phase) for phase in surroundings.phases()]
        index = next((i for i, phase in enumerate(known) if phase["id"] == arguments.phase_id), None)
        if index is None:
            ids = ", ".join(f"{phase['id']} ({phase['name']})" for phase in known)
            expected = f"expected one of {ids}" if known else "there is no plan yet: create one first"
            raise ToolFailed("unknown_phase", f"no phase {arguments.phase_id!r}; {expected}")
        phase = known[index]
        moved: type[PhaseStart] | type[PhaseComplete]
        moved, state = (PhaseStart, "active") if arguments.action == "start" else (PhaseComplete, "done")
        event: Event = moved(phase_id=phase["id"], phase_name=phase["name"], phase_index=index)
        await tell.event(event)
        phase["state"] = state
        return _shown(known)


async def _create(arguments: PlanArguments, tell: Tell) -> JsonValue:
    if arguments.goal is None or arguments.phases is None:
        raise ToolFailed("invalid_arguments", "to create a plan give goal and phases")
    phases = [Phase(id=f"p{i}", name=name) for i, name in enumerate(arguments.phases, 1)]
    await tell.event(PlanCreated(goal=arguments.goal, phases=phases))
    return _shown([{"id": phase.id, "name": phase.name, "state": "pending"} for phase in phases])


def _shown(phases: list[dict[str, str]]) -> JsonValue:
    return {"phases": [{key: phase[key] for key in ("id", "name", "state")} for phase in phases]}
