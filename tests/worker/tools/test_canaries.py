"""No secret gets out: canaries in the settings and the environment of a real worker, whose agent does all it can."""

import base64
import io
import json
import logging
import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from redis.asyncio import Redis

from runcast_events.events import Event, IterationStart, ToolCallComplete
from runcast_service.logging import LineFormatter
from runcast_worker.engines import EngineError, EngineTask
from runcast_worker.secrets.redaction import REPLACEMENT
from tests.loglines import parsed
from tests.worker.conftest import Client, StartWorker

KEY, PASSWORD, MCP = "sk-canary-0123456789", "canary/pass word", "mcp-canary-abcdefgh"
CANARIES = (KEY, PASSWORD, MCP)
QUOTED = 'sig"ning\\canary'
AGENTS = """
[agents.leaky]
engine = "demo"
[agents.other]
engine = "demo"
[agents.other.mcp.search]
url = "http://127.0.0.1:1/"
headers = {Authorization = "Bearer ${TEAM_HEADER}"}
"""
SHELL = (
    "env",
    "cat /proc/self/environ; cat /proc/$PPID/environ /proc/1/environ 2>/dev/null; true",
    "cat notes.txt",
    f"printf {KEY[:7]}; sleep 0.05; printf {KEY[7:12]} >&2; printf {KEY[7:]}; sleep 0.05; echo",
    f"printf '{KEY[:9]}'; sleep 0.05; printf '{KEY[9:]}' >&2",
    "cp notes.txt b; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cat b b > c; mv c b; done; cat b; rm b",
    "base64 -w0 notes.txt",
    f"echo {MCP} >&2; sleep 60",
)


class Leaky:
    """Plays the demo's part: tells every canary that it finds, in every way there is."""

    def __init__(self) -> None:
        self.results: list[ToolCallComplete] = []

    async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
        yield IterationStart(iteration=1)
        calls = [("shell", {"command": command, "timeout_s": 1}) for command in SHELL]
        calls += [("read_file", {"path": "notes.txt"}), ("search", {"pattern": "canary"}), (KEY, {KEY: KEY})]
        calls += [("write_file", {"path": f"{KEY}.txt", "content": KEY}), ("list_folder", {"path": "."})]
        calls += [("plan", {"action": "create", "goal": KEY, "phases": [MCP]}), ("fetch", {"url": f"ftp://{KEY}/"})]
        for index, (name, arguments) in enumerate(calls):
            async for event in task.tools.call(1, index, name, arguments, provider_id=KEY):  # type: ignore[arg-type]
                if isinstance(event, ToolCallComplete):
                    self.results.append(event)
                yield event
        async for event in task.tools.call(1, len(calls), "shell", {}, raw_arguments=f'{{"command": {KEY}'):
            yield event
        raise EngineError(f"the model said {KEY}")


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What a handler of the process writes, as __main__ sets it up."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(LineFormatter("worker"))
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)


async def test_what_others_log_is_filtered_while_a_worker_runs(
    start_worker: StartWorker, log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library's message, an `extra`, a traceback: whatever of a line holds the secret, also where it is quoted."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SIGNING_SECRET", QUOTED)
    other = logging.getLogger("somebody.else")
    async with start_worker():
        try:
            raise RuntimeError(f"wrong key {KEY}")
        except RuntimeError:
            other.exception("asked with %s", KEY, extra={"header": f"Bearer {KEY}"})
        other.error("%s", json.dumps({"signed": QUOTED}))
    assert KEY not in log_lines.getvalue()
    assert log_lines.getvalue().count(REPLACEMENT) == 4
    *_, quoted = parsed(log_lines.getvalue().splitlines())
    assert quoted["message"] == json.dumps({"signed": REPLACEMENT})
    other.error("afterwards %s", KEY)
    assert f"afterwards {KEY}" in log_lines.getvalue(), "the handler is as it was"


async def everything(redis: Redis) -> bytes:
    """All keys and all values of the store. One that goes away meanwhile is the queue's own of a job that ended."""
    found = bytearray()
    for key in await redis.keys("*"):
        kind = (await redis.type(key)).decode()
        read = {
            "string": redis.get,
            "hash": redis.hgetall,
            "list": lambda k: redis.lrange(k, 0, -1),
            "set": redis.smembers,
            "zset": lambda k: redis.zrange(k, 0, -1),
            "stream": redis.xrange,
            "none": redis.get,
        }[kind]
        found += key + repr(await read(key)).encode()  # type: ignore[operator]
    return bytes(found)


@pytest.fixture
def leaky(agents_file: Path, tmp_path: Path) -> None:
    """The agents, and a workspace with the canaries in a file."""
    agents_file.write_text(AGENTS)
    workspace = tmp_path / "workspaces" / "default" / "s1"
    workspace.mkdir(parents=True)
    (workspace / "notes.txt").write_text(f"key={KEY} pass={PASSWORD} mcp={MCP}\n")


@pytest.mark.usefixtures("leaky")
async def test_no_canary_is_in_events_logging_metrics_keys_or_tools(
    client: Client,
    start_worker: StartWorker,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the agent's tools come upon: the environment, files, arguments, their own error messages."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("RUNCAST_SPARE_URL", "redis://user:canary%2Fpass%20word@host/0")
    monkeypatch.setenv("TEAM_HEADER", MCP)
    engine = Leaky()
    async with start_worker({"demo": engine}) as deps:
        log = await client.ended(await client.submit(agent="leaky"))
        metrics = generate_latest(deps.metrics.registry)
        stored = await everything(redis)
    assert log[-1].type == "task_failed"
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records).encode()
    encoded = base64.b64encode(f"key={KEY}".encode())[8:24]  # of the key alone
    for canary in (*map(str.encode, CANARIES), b"canary%2Fpass%20word", encoded):
        for name, where in (("store", stored), ("logging", logged), ("metrics", metrics)):
            assert canary not in where, f"{canary!r} is in the {name}"
    results = {str(call.tool_call_id): call for call in engine.results}
    assert (results["1.0"].error, results["1.2"].error) == (None, None)
    assert stored.count(REPLACEMENT.encode()) > 4000, "the long output is kept, filtered"
    assert results["1.5"].output_url is not None
    environment = str(results["1.0"].result)
    assert "OPENAI" not in environment
    assert "TEAM_HEADER" not in environment
    assert os.environ["OPENAI_API_KEY"] == KEY
