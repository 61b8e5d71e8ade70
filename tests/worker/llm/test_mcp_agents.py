"""A model's agent that uses the tools of an MCP server, in a real worker."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runcast_local.model import Call, Stub, Turn, says
from runcast_worker.deps import Deps
from tests.worker.conftest import Client, StartWorker

SERVER = Path(__file__).parents[1] / "mcp" / "servers" / "tools.py"
AGENTS = f"""
[agents.llm]
engine = "llm"
model = "mine"
tools = []
[agents.llm.mcp.own]
command = [{json.dumps(sys.executable)}, {json.dumps(str(SERVER))}]

[agents.broken]
engine = "llm"
model = "mine"
[agents.broken.mcp.own]
command = ["/no/such/server"]
"""


@pytest.fixture
def mcp_agents(agents_file: Path) -> None:
    agents_file.write_text(AGENTS)


@pytest.fixture
async def deps(start_worker: StartWorker, mcp_agents: None, base_url: str) -> AsyncIterator[Deps]:
    async with start_worker(llm_base_url=base_url) as deps:
        yield deps


async def test_a_model_calls_a_tool_of_a_server(deps: Deps, client: Client, stub: Stub) -> None:
    """It is offered like one of ours, under the server's name, and told and shown what it came to."""
    stub.scripts["mine"] = [Turn([Call("own_echo", {"text": "five"})]), Turn(says("Five."))]
    log = await client.ended(await client.submit("say five", agent="llm"))
    (end,) = [json.loads(entry.payload) for entry in log if entry.type == "tool_call_complete"]
    assert (end["tool_name"], end["result"]) == ("own_echo", "five")
    assert "own_echo" in stub.asked[0].tools
    assert json.loads(log[-1].payload)["final_answer"] == "Five."


async def test_a_server_that_cannot_be_started_fails_the_task_by_its_kind(deps: Deps, client: Client) -> None:
    """Before the model is asked anything."""
    log = await client.ended(await client.submit("say five", agent="broken"))
    end = json.loads(log[-1].payload)
    assert (end["event_type"], end["kind"]) == ("task_failed", "mcp")
    assert "own" in end["error"]
    assert "/no/such/server" in end["error"]
