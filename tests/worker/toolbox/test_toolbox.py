"""The toolbox: whatever a call is given and comes to, its events can be written."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import JsonValue
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.events import Event, ToolCallComplete, ToolCallStart, ToolError
from runcast_events.log import EventLog, Hold
from runcast_events.redis import connect
from runcast_tasks.outputs import Outputs, find_output, read_output
from runcast_worker.metrics import Metrics
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.toolbox import toolbox as toolbox_module
from runcast_worker.toolbox.told import MESSAGE_BYTES
from runcast_worker.toolbox.toolbox import PIECES, Toolbox
from runcast_worker.tools import ARGUMENTS_BYTES, Arguments, Surroundings, Tell, Tool, ToolFailed
from runcast_worker.tools import spill as spill_module
from runcast_worker.tools.all import all_tools
from tests.attempts import claim, submit


@pytest.fixture
async def toolbox(tmp_path: Path) -> AsyncIterator[Toolbox]:
    async def acknowledged() -> None: ...

    async with Toolbox(Surroundings(tmp_path), all_tools(), acknowledged, Metrics()) as box:
        yield box


async def call(toolbox: Toolbox, name: str, **arguments: JsonValue) -> list[Event]:
    """The events of a call, each of which can be written."""
    events = [event async for event in toolbox.call(1, 0, name, arguments)]
    for event in events:
        Envelope("s" * 64, "s" * 64 + ".abcdefghij", 1).encode(event)
    assert (events[0].event_type, events[-1].event_type) == ("tool_call_start", "tool_call_complete")
    return events


def error_of(events: list[Event]) -> ToolError:
    complete = events[-1]
    assert isinstance(complete, ToolCallComplete)
    assert complete.error is not None
    return complete.error


async def test_a_command_that_is_killed_after_much_output_is_told_head_and_tail(toolbox: Toolbox) -> None:
    """The message would not fit into an event, and the whole task would fail."""
    command = "echo first; yes xxxxxxxxxxxxxxx | head -c 200000; echo last; sleep 100"
    error = error_of(await call(toolbox, "shell", command=command, timeout_s=1))
    assert error.code == "timeout"
    assert "first" in error.message
    assert error.message.endswith("last\n")
    assert len(error.message) <= MESSAGE_BYTES


@pytest.mark.parametrize("text", ["x", "\x01", "🎉", '"', "\ud800"])
async def test_a_message_fits_whatever_its_characters_take(
    toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Escaped, in several bytes, or no Unicode at all."""

    class Fails:
        name = "shell"
        changes = False
        arguments = all_tools()["list_files"].arguments

        async def call(self, *_: object) -> JsonValue:
            raise ToolFailed("failed", text * 100_000)

    monkeypatch.setitem(toolbox._tools, "shell", Fails())
    assert error_of(await call(toolbox, "shell")).code == "failed"


@pytest.mark.parametrize("content", ["a" * ARGUMENTS_BYTES, "\x01" * 20_000, "\ud800"])
async def test_arguments_that_no_event_can_hold_are_refused(toolbox: Toolbox, tmp_path: Path, content: str) -> None:
    """Nothing is run, and the model is told how much it may send."""
    events = await call(toolbox, "write_file", path="a.txt", content=content)
    assert error_of(events).code == "invalid_arguments"
    start = events[0]
    assert isinstance(start, ToolCallStart)
    assert start.arguments == {}
    assert start.raw_arguments is not None
    assert len(start.raw_arguments) <= toolbox_module.SHOWN_CHARS
    assert os.listdir(tmp_path) == []


async def test_a_name_that_no_tool_has_is_cut(toolbox: Toolbox) -> None:
    """It is a model's, and may be anything."""
    events = await call(toolbox, "x" * 100_000)
    assert error_of(events).code == "unknown_tool"


# --- what is told -----------------------------------------------------------------------------------------------------


class Says:
    """A tool that streams and answers what it is made with."""

    name = "says"
    description = "Says it."
    changes = False

    class arguments(Arguments):
        word: str = ""
        how: Literal["loud", "low"] = "low"

    def __init__(self, result: Any = None, streamed: Sequence[str] = (), name: str = "says") -> None:
        self._result, self._streamed, self.name = result, streamed, name

    async def call(self, arguments: Any, surroundings: Surroundings, tell: Tell) -> Any:
        for piece in self._streamed:
            await tell.stream("stdout", piece)
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


@asynccontextmanager
async def a_toolbox(folder: Path, *tools: Tool, **options: Any) -> AsyncIterator[Toolbox]:
    async def acknowledged() -> None: ...

    async with Toolbox(Surroundings(folder), ["shell"], acknowledged, Metrics(), more=tools, **options) as box:
        yield box


def complete_of(events: list[Event]) -> ToolCallComplete:
    complete = events[-1]
    assert isinstance(complete, ToolCallComplete)
    return complete


@pytest.fixture
async def hold(redis: Redis) -> Hold:
    """Of a running attempt, which the session's keys live with."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    return attempt.hold


async def kept_text(redis: Redis, hold: Hold, url: str | None) -> str:
    assert url == f"/api/tasks/{hold.task_id}/tool-calls/1.0/output"
    kept = await find_output(redis, hold.keys, hold.task_id, "1.0")
    return b"".join([piece async for piece in read_output(redis, kept)]).decode()


async def test_a_long_output_is_told_as_head_and_tail_and_kept_whole(tmp_path: Path, redis: Redis, hold: Hold) -> None:
    """The model is given what the event shows; the event says where the whole is, and how long."""
    async with a_toolbox(tmp_path, outputs=Outputs(redis, hold, 10**8)) as box:
        events = await call(box, "shell", command="seq 1 200000")
    complete, whole = complete_of(events), "".join(f"{i}\n" for i in range(1, 200_001))
    assert isinstance(complete.result, dict)
    output = str(complete.result["output"])
    assert output.startswith("1\n2\n")
    assert output.endswith("199999\n200000\n")
    assert f"{len(whole)} bytes in all; the middle is left out" in output
    assert len(Envelope("s1", "s1.abcdefghij", 1).encode(complete).payload) < 64 * 1024
    assert (complete.size, complete.sha256) == (len(whole), hashlib.sha256(whole.encode()).hexdigest())
    assert await kept_text(redis, hold, complete.output_url) == whole


@pytest.mark.parametrize("command", ["yes ä | head -c 60000; exit 1", "yes x | head -c 600000; sleep 60"])
async def test_an_output_between_the_bounds_and_one_that_was_killed_are_kept_too(
    tmp_path: Path, redis: Redis, hold: Hold, command: str
) -> None:
    """Wherever less than the whole is told, the whole is kept."""
    async with a_toolbox(tmp_path, outputs=Outputs(redis, hold, 10**8)) as box:
        complete = complete_of(await call(box, "shell", command=command, timeout_s=1))
    text = await kept_text(redis, hold, complete.output_url)
    assert len(text.encode()) == complete.size
    assert set(text) <= set("äxy\n\ufffd")


async def test_a_long_result_is_told_as_a_text_that_says_so(tmp_path: Path, redis: Redis, hold: Hold) -> None:
    """Never as JSON that silently lost its middle; what was streamed before gives way to it."""
    result = {"rows": [{"n": n, "text": "ä" * 100} for n in range(2000)]}
    tools = (Says(result, ["x" * 100_000], "rows"), Says("line\n" * 100_000, (), "text"))
    async with a_toolbox(tmp_path, *tools, outputs=Outputs(redis, hold, 10**8)) as box:
        complete = complete_of(await call(box, "rows"))
        whole = json.dumps(result, ensure_ascii=False)
        assert isinstance(complete.result, str)
        assert f"{len(whole.encode())} bytes of JSON in all; the middle is left out" in complete.result
        assert await kept_text(redis, hold, complete.output_url) == whole
        assert complete.size == len(whole.encode())
        complete = complete_of(await call(box, "text"))
        assert "500000 bytes in all" in str(complete.result)
        assert await kept_text(redis, hold, complete.output_url) == "line\n" * 100_000


async def test_what_cannot_be_kept_fails_no_call(tmp_path: Path, redis: Redis, hold: Hold) -> None:
    """Too much for the session, or a store that is away: the event then has no url."""
    for outputs in (
        Outputs(redis, hold, 100_000),
        Outputs(connect("redis://127.0.0.1:1", "t", retries=0), hold, 10**8),
    ):
        async with a_toolbox(tmp_path, Says("y" * 200_000), outputs=outputs) as box:
            for name, arguments in (("shell", {"command": "yes | head -c 2000000"}), ("says", {})):
                complete = complete_of(await call(box, name, **arguments))
                assert complete.error is None
                assert complete.size
                assert complete.output_url is None
    assert not await redis.exists(hold.keys.outputs)


class Streams(Says):
    """Streams what is long, and never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    async def call(self, arguments: Any, surroundings: Surroundings, tell: Tell) -> Any:
        await tell.stream("stdout", "x" * 2_000_000)
        self.written.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_call_that_is_stopped_leaves_no_part_of_its_output(
    tmp_path: Path, redis: Redis, hold: Hold, times: int
) -> None:
    """It would take the session's room for as long as the session is there. The toolbox waits for that, also where a
    second stop breaks into the call's end."""
    tool, outputs = Streams(), SlowToDrop(redis, hold, 10**8)

    async def calls() -> None:
        async with a_toolbox(tmp_path, tool, outputs=outputs) as box:
            async for _ in box.call(1, 0, "says", {}):
                pass

    calling = asyncio.create_task(calls())
    async with asyncio.timeout(10):
        await tool.written.wait()
        assert await redis.exists(hold.keys.outputs)
        calling.cancel()
        await outputs.dropping.wait()
        if times == 2:
            calling.cancel()
        outputs.go_on.set()
        await asyncio.gather(calling, return_exceptions=True)
    assert not await redis.exists(hold.keys.outputs, hold.keys.output(hold.task_id, "1.0"))


class SlowToDrop(Outputs):
    """Waits with it until it is told to go on."""

    def __init__(self, redis: Redis, hold: Hold, max_bytes: int) -> None:
        super().__init__(redis, hold, max_bytes)
        self.dropping, self.go_on = asyncio.Event(), asyncio.Event()

    async def drop(self, call_id: str) -> None:
        self.dropping.set()
        await self.go_on.wait()
        await super().drop(call_id)


async def test_a_call_that_is_stopped_waits_for_the_store_a_little_only(
    tmp_path: Path, redis: Redis, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is stopped has seconds."""
    monkeypatch.setattr(spill_module, "DROP_S", 0.1)
    tool, outputs = Streams(), SlowToDrop(redis, hold, 10**8)
    async with asyncio.timeout(5):
        async with a_toolbox(tmp_path, tool, outputs=outputs) as box:
            calling = asyncio.create_task(call(box, "says"))
            await tool.written.wait()
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
    assert calling.cancelled()
    assert outputs.dropping.is_set()


class Breaks(Says):
    """Ends by what is no Exception, and by nobody's stopping it."""

    def __init__(self, how: str) -> None:
        super().__init__(streamed=["so far\n"])
        self._how = how

    async def call(self, arguments: Any, surroundings: Surroundings, tell: Tell) -> Any:
        await super().call(arguments, surroundings, tell)
        if self._how == "future":  # such as that of a connection whose reader ended
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        elif self._how == "group":
            raise BaseExceptionGroup("of a task group", [asyncio.CancelledError()])
        elif self._how == "itself":
            for _ in range(2 * PIECES):
                await tell.stream("stdout", "x")
            running = asyncio.current_task()
            assert running is not None
            running.cancel()
            await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["future", "group", "itself"])
async def test_a_tool_that_ends_by_a_cancellation_of_its_own_has_failed(tmp_path: Path, how: str) -> None:
    """The call comes to its end, and its task goes on; what was streamed is shown."""
    async with asyncio.timeout(5), a_toolbox(tmp_path, Breaks(how)) as box:
        events = await call(box, "says")
        assert error_of(events).code == "internal"
        assert any("so far" in str(event) for event in events)
        assert error_of(await call(box, "nothing")).code == "unknown_tool"


async def test_a_call_that_fails_on_the_way_to_its_end_comes_to_it(
    tmp_path: Path, redis: Redis, hold: Hold, caplog: pytest.LogCaptureFixture
) -> None:
    """By an error of ours in what comes after the tool: told as such, and nothing is kept."""

    class Broken(Outputs):
        async def whole(self, call_id: str, size: int) -> None:
            raise RuntimeError("broken here")

    tools = (Says("y" * 200_000), Says(None, ["z" * 200_000], "streams"))
    async with asyncio.timeout(5), a_toolbox(tmp_path, *tools, outputs=Broken(redis, hold, 10**8)) as box:
        for name in ("says", "streams"):
            assert error_of(await call(box, name)).code == "internal"
    assert caplog.text.count("broken here") >= 2
    assert not await redis.exists(hold.keys.outputs)


async def test_calls_run_side_by_side(tmp_path: Path) -> None:
    """Each waits for the other: one after the other they would never end."""
    async with a_toolbox(tmp_path) as box:
        commands = ["touch a; until [ -e b ]; do sleep 0.01; done", "touch b; until [ -e a ]; do sleep 0.01; done"]
        calls = [box.call(1, index, "shell", {"command": command}) for index, command in enumerate(commands)]

        async def events(called: AsyncIterator[Event]) -> list[Event]:
            return [event async for event in called]

        async with asyncio.timeout(10):
            told = await asyncio.gather(*map(events, calls))
    assert [complete_of(events).tool_call_id for events in told] == ["1.0", "1.1"]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ('{"word": "x"', "Expecting ',' delimiter at character 13 of 12"),
        ("[1]", "they are a list"),
        ("", "Expecting value at character 1 of 0"),
        ("[" * 100_000, "nested too deep"),
        ("\ud800", "Expecting value"),
    ],
)
async def test_arguments_that_are_no_json_object_are_shown_and_explained(tmp_path: Path, raw: str, why: str) -> None:
    """The event has what the model said; the model is told what was expected."""
    async with a_toolbox(tmp_path, Says()) as box:
        events = [event async for event in box.call(1, 0, "says", {}, raw_arguments=raw, provider_id="call_1")]
    start, error = events[0], error_of(events)
    assert isinstance(start, ToolCallStart)
    assert (start.arguments, start.provider_id) == ({}, "call_1")
    assert start.raw_arguments is not None
    assert start.raw_arguments[:4] == raw.encode(errors="replace").decode()[:4]
    Envelope("s1", "s1.abcdefghij", 1).encode(start)
    assert error.code == "invalid_arguments"
    assert why in error.message
    assert 'expected an object with word: string, how: "loud" | "low"' in error.message


async def test_arguments_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    """Each wrong field, and what was expected of all."""
    async with a_toolbox(tmp_path, Says()) as box:
        error = error_of(await call(box, "says", word=1, surprise=True))
        assert "word: Input should be a valid string" in error.message
        assert "surprise: Extra inputs are not permitted" in error.message
        assert "expected an object with word: string" in error.message
        deep: Any = 1
        for _ in range(500):
            deep = [deep]
        assert "nested too deep" in error_of(await call(box, "says", word=deep)).message
        unknown = error_of(await call(box, "say"))
        assert (unknown.code, unknown.message) == ("unknown_tool", "no tool 'say'; there are: shell, says")


async def test_calls_are_timed_by_tool_and_outcome(tmp_path: Path) -> None:
    """Labels are names of ours; a server's tool is `mcp`, and what a model makes up `unknown`."""
    async with a_toolbox(tmp_path, Says()) as box:
        for name in ("shell", "says", "x" * 300):
            await call(box, name, **({"command": "true"} if name == "shell" else {}))
        sample = box._metrics.registry.get_sample_value
        for tool, outcome in (("shell", "ok"), ("mcp", "ok"), ("unknown", "error")):
            assert sample("runcast_tool_seconds_count", {"tool": tool, "outcome": outcome}) == 1
            assert sample("runcast_tool_calls_total", {"tool": tool, "outcome": outcome}) == 1


async def test_a_tool_of_a_server_does_not_take_the_place_of_ours(tmp_path: Path) -> None:
    """Not even of one that the agent is not given."""
    async with a_toolbox(tmp_path, Says("x", (), "shell"), Says("x", (), "fetch"), Says("x", (), "b")) as box:
        assert [tool.name for tool in box.offered] == ["shell", "b"]
        assert box.offered[0].changes


async def test_no_secret_is_told_wherever_it_stands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In arguments, ids, names, streams, results, errors and the logging of an error of ours."""
    secret = "correct-horse-battery"
    tools = [
        Says({"a": [secret], secret: 1}, [secret[:5], secret[5:]], "result"),
        Says(ToolFailed("failed", f"no {secret}"), (), "failed"),
        Says(RuntimeError(f"ours {secret}"), (), "broken"),
    ]
    async with a_toolbox(tmp_path, *tools, redactor=lambda: Redactor([secret])) as box:
        told: list[Event] = []
        for name in ("result", "failed", "broken", secret):
            told += await call(box, name, word=secret)
            told += [e async for e in box.call(1, 0, name, {}, raw_arguments=f"{{{secret}", provider_id=secret)]
            told += await call(box, name, word=secret * 5000)
    written = "".join(event.model_dump_json() for event in told)
    assert "[secret]" in written
    assert "ours [secret]" in caplog.text
    assert secret not in written + caplog.text


async def test_a_result_that_is_no_json_is_an_error_of_ours(tmp_path: Path) -> None:
    """Instead of an event that cannot be written."""
    async with a_toolbox(tmp_path, Says(float("nan")), Says({"a": "\ud800"}, (), "lone")) as box:
        assert error_of(await call(box, "says")).code == "internal"
        assert complete_of(await call(box, "lone")).result == {"a": "?"}
