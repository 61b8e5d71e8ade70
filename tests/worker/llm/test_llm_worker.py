"""A model's agent in a real worker: its log, its record, and what a cancel does to the model's stream."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest
from redis.asyncio import Redis

from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_local.model import Call, Say, Silence, Stall, Stub, Turn, says, thinks
from runcast_tasks.control import Control
from runcast_tasks.record import Records
from runcast_worker.deps import Deps
from tests.attempts import TENANT
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker

AGENTS = """
[agents.llm]
engine = "llm"
model = "mine"
tools = ["shell"]
"""


@pytest.fixture
def llm_agents(agents_file: Path) -> None:
    agents_file.write_text(AGENTS)


@pytest.fixture
async def deps(start_worker: StartWorker, llm_agents: None, base_url: str) -> AsyncIterator[Deps]:
    async with start_worker(llm_base_url=base_url, llm_timeout_s=20) as deps:
        yield deps


async def test_a_task_of_a_model_runs_from_its_submit_to_its_end(
    deps: Deps, client: Client, stub: Stub, redis: Redis
) -> None:
    """Its answer joins the conversation, which the next task's model is told; what it took is in both records."""
    stub.scripts["mine"] = [
        Turn([*thinks("hm"), Call("shell", {"command": "echo hi"})], input_tokens=10, output_tokens=5),
        Turn(says("It said hi."), input_tokens=20, output_tokens=7),
        Turn(says("As I said."), input_tokens=30, output_tokens=1),
    ]
    first = await client.submit("say hi", agent="llm")
    log = await client.ended(first)
    end = json.loads(log[-1].payload)
    assert (end["event_type"], end["final_answer"], end["total_iterations"]) == ("task_complete", "It said hi.", 2)
    assert end["usage"] == {"input": 30, "output": 12, "cached": end["usage"]["cached"], "cost_usd": None}
    await client.ended(await client.submit("again", agent="llm"))
    said = [(m["role"], m["content"]) for m in stub.asked[-1].messages[1:]]
    assert said == [("user", "say hi"), ("assistant", "It said hi."), ("user", "again")]
    records = Records(redis, Keyspace(), TENANT)
    task, session = await records.task(first), await records.session("s1")
    assert (task.usage.input, task.usage.output) == (30, 12)
    assert (session.usage.input, session.usage.output, session.usage.cost_usd) == (60, 13, None)


@pytest.mark.parametrize("turn", [Turn([*says("I begin"), Stall()]), Silence()], ids=["in the answer", "before it"])
async def test_a_cancel_closes_the_models_stream_within_100_ms(
    deps: Deps, client: Client, stub: Stub, redis: Redis, turn: Turn | Silence
) -> None:
    """As the model's server sees it: nobody pays for what nobody reads. Also while the attempt writes nothing."""
    stub.scripts["mine"] = [turn]
    task_id = await client.submit("go", agent="llm")
    await wait_until(lambda: bool(stub.asked))
    if isinstance(turn, Turn):
        await client.wrote("output")
    (asked,) = stub.asked
    cancelled_at = monotonic()
    await Control(redis, EventLog(redis), Keyspace(), TENANT).cancel(task_id, "test")
    await wait_until(lambda: asked.left_at is not None)
    assert asked.left_at is not None
    assert asked.left_at - cancelled_at <= 0.1
    log = await client.ended(task_id)
    assert log[-1].type == "task_cancelled"


async def test_a_models_fault_ends_the_task_with_its_kind(deps: Deps, client: Client, stub: Stub) -> None:
    """And a sentence for whoever asked."""
    log = await client.ended(await client.submit("go", agent="llm", session_id="s2"), timeout_s=5)
    end = json.loads(log[-1].payload)
    assert (end["event_type"], end["kind"], end["retryable"]) == ("task_failed", "model_not_found", False)
    assert "mine" in end["error"]


async def test_a_flood_of_deltas_is_gathered(deps: Deps, client: Client, stub: Stub) -> None:
    """Two thousand deltas at once are a handful of events, and the answer is whole."""
    stub.scripts["mine"] = [Turn([Say(f"{number} ") for number in range(2000)])]
    log = await client.ended(await client.submit("go", agent="llm"))
    deltas = [json.loads(entry.payload)["delta"] for entry in log if entry.type == "output"]
    assert "".join(deltas) == "".join(f"{number} " for number in range(2000))
    assert len(deltas) < 200


async def test_a_model_that_cannot_be_asked_is_told_when_the_worker_starts(
    start_worker: StartWorker, agents_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """To whoever runs it, before a user meets it; it starts all the same."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    agents_file.write_text(AGENTS + 'fallback_models = ["anthropic:claude-x"]\n')  # noqa: ASYNC240
    async with start_worker(llm_base_url="http://127.0.0.1:9/v1"):
        assert any("agents.llm" in line and "ANTHROPIC_API_KEY" in line for line in caplog.messages)
