"""Guarantees 1 to 4 of the log under random interleavings and faults; and the proof that these tests can fail."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from runcast_events.log import append_script
from runcast_local.store import Store
from tests.events.machine import LogMachine

QUICK = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture
def url(own_store: Store) -> str:
    """A store of its own: filling it would disturb the others."""
    return own_store.url


def run(url: str, script: str | None, config: settings) -> None:
    machine = type("Machine", (LogMachine,), {"url": url, "script": script})
    run_state_machine_as_test(machine, settings=config)


@pytest.mark.timeout(180)
def test_the_guarantees_hold_in_any_interleaving(url: str) -> None:
    """Two attempts, zombies, cancels, deletions, lost replies, rollbacks, trims, a full store."""
    run(url, None, QUICK)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_guarantees_hold_in_many_interleavings(url: str) -> None:
    """The same, with the full figures."""
    run(url, None, settings(QUICK, max_examples=1000, stateful_step_count=50))


FENCED = "  if ours < stored or (ours == stored and writer ~= record[2]) then return {'FENCED', record[2] or ''} end\n"
DUP = "  if first + count - 1 <= known then return {'DUP', record[4] or '0-0'} end\n"
SEQUENCE = "  local first, known = tonumber(ARGV[4]), tonumber(record[3] or '0')\n"
WRONG = {
    "no fence check": [(FENCED, "")],
    "XADD *": [("redis.call('XADD', KEYS[1], last_id,", "redis.call('XADD', KEYS[1], '*',")],
    "DUP before FENCED": [(DUP, ""), (SEQUENCE, ""), (FENCED, SEQUENCE + DUP + FENCED)],
    "one epoch per session": [("local opens = meta[4] ~= this_writer", "local opens = not meta[4]")],
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.timeout(180)
def test_a_wrong_script_is_caught(url: str, name: str) -> None:
    """Each of the classic mistakes, seeded into the script, fails the machine."""
    script = append_script()
    for right, wrong in WRONG[name]:
        assert right in script
        script = script.replace(right, wrong)
    config = settings(QUICK, max_examples=400, phases=[Phase.generate], print_blob=False, derandomize=True)
    with pytest.raises((AssertionError, ExceptionGroup)) as caught:
        run(url, script, config)
    print(f"{name}: {caught.value!r:.300}")
