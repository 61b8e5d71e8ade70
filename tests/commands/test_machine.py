"""Commands to tasks at any event and in any order, against a model of what each may do."""

import asyncio

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.commands.machine import CommandMachine
from tests.commands.stage import Stage

QUICK = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=[Phase.generate],  # where tasks run freely a run cannot be repeated exactly
)


@pytest.fixture
def machine(on_stage: tuple[Stage, asyncio.Runner]) -> type[CommandMachine]:
    stage, runner = on_stage
    return type("Machine", (CommandMachine,), {"stage": stage, "runner": runner})


def test_every_command_is_answered_and_done_as_the_task_stands(machine: type[CommandMachine]) -> None:
    """A sample; the same one each time."""
    run_state_machine_as_test(machine, settings=QUICK)


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_every_command_is_answered_and_done_as_the_task_stands_in_many_orders(machine: type[CommandMachine]) -> None:
    """The full figure."""
    run_state_machine_as_test(machine, settings=settings(QUICK, max_examples=500, stateful_step_count=30))
    print(dict(machine.stage.seen))
