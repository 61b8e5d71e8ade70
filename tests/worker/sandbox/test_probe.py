"""Which tier a worker finds, and how it says so."""

import json
import logging
from pathlib import Path
from typing import Literal

import pytest

from runcast_worker.sandbox import SandboxMissing, find_sandbox
from tests.worker.conftest import Client, StartWorker
from tests.worker.sandbox.machine import TIERS


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH: without bubblewrap, or with one that a test writes."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


async def test_the_best_that_works_here_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """By running a command in it; where it is the reduced tier there is a warning."""
    caplog.set_level(logging.INFO)
    assert (await find_sandbox("auto")).tier == TIERS[0]
    assert "sandbox: " + TIERS[0] in caplog.text


async def test_the_reduced_tier_can_be_chosen_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    """One line, which says what stays open."""
    assert (await find_sandbox("reduced")).tier == "reduced"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "can read what the worker's user can" in caplog.text


@pytest.mark.parametrize("there", [None, "echo 'Creating new namespace failed' >&2; exit 1", "exit 0"])
async def test_without_a_bubblewrap_that_works_the_reason_is_told(
    programs: Path, caplog: pytest.LogCaptureFixture, there: str | None
) -> None:
    """None, one that the machine does not let work, one that does something else: a warning, or no start at all."""
    why = "install the package bubblewrap"
    if there is not None:
        program = programs / "bwrap"
        program.write_text(f"#!/bin/sh\n{there}\n")
        program.chmod(0o755)
        why = "Creating new namespace failed" if "failed" in there else "the probe ended with 0"
    assert (await find_sandbox("auto")).tier == "reduced"
    assert why in caplog.text
    with pytest.raises(SandboxMissing, match=f"RUNCAST_SANDBOX=required, but .*{why}.*docs/sandbox.md"):
        await find_sandbox("required")


@pytest.mark.parametrize("mode", ["auto", "reduced"])
async def test_a_task_tells_where_its_tools_run(
    client: Client, start_worker: StartWorker, mode: Literal["auto", "reduced"]
) -> None:
    """So that nobody takes the reduced tier for the other."""
    async with start_worker(sandbox=mode):
        log = await client.ended(await client.submit("hello"))
    started = next(json.loads(entry.payload) for entry in log if entry.type == "task_started")
    assert started["sandbox"] == ("reduced" if mode == "reduced" else TIERS[0])
