"""`make demo`: one task through every hop of a stack of its own, watched over two connections and checked.

The check is guarantee 2: over both connections a client is shown exactly the task's log, in order.
"""

import asyncio
import json
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import httpx2

from runcast_local.errors import DemoFailed
from runcast_local.lines import Lines
from runcast_local.settings import StackSettings
from runcast_local.stack import Ports, plan
from runcast_local.supervisor import Supervisor

TIMEOUT_S = 45.0
SILENCE_S = 20.0
AWAY_S = 0.5
TASK = "Count the lines of the Python files"
EVENTS_AFTER_CALL = 3
"""The connection is dropped this many events into the first tool call: in the middle, whatever the agent does."""
CONTROL = frozenset({"connected", "cursor", "gap", "end", "draining", "auth_expiring"})
PAGE = 100
ANSWER = 400
"""Characters of the answer that are shown."""

AGENTS = """\
[agents.demo]
engine = "demo"
description = "Looks at one folder, changes nothing."
workspace = {workspace}
read_only = true
"""


async def run(settings: StackSettings, workspace: Path, environ: Mapping[str, str], lines: Lines) -> None:
    """The demo on a stack of its own: free ports, a temporary folder. Leaves no process and no file. `workspace` (an
    absolute path) is what the agent looks at. Raises LocalError."""
    with tempfile.TemporaryDirectory(prefix="runcast-demo-") as folder:
        agents = Path(folder) / "agents.toml"
        # What JSON makes of a path, TOML reads as well, as long as it is not escaped to ASCII.
        agents.write_text(AGENTS.format(workspace=json.dumps(str(workspace), ensure_ascii=False)))
        quiet = {"RUNCAST_LOG_LEVEL": "WARNING", **environ}
        # Where the store is somebody's own: keys of the demo's own, gone in a minute.
        own = {"RUNCAST_KEY_PREFIX": f"demo-{secrets.token_hex(4)}:", "RUNCAST_SESSION_TTL_S": "60"}
        stack = plan(settings, Ports.free(), Path(folder), {**quiet, **own}, agents)
        try:
            async with asyncio.timeout(TIMEOUT_S), Supervisor(stack.end_timeout_s) as supervisor:
                lines.text("starting store, api, worker, gateway and edge …")
                await stack.start(supervisor)
                lines.text(f"up at {stack.url}\n")
                timeout = httpx2.Timeout(5, read=SILENCE_S)
                async with httpx2.AsyncClient(base_url=stack.url, trust_env=False, timeout=timeout) as client:
                    await supervisor.during(Demo(client, lines).run())
        except TimeoutError:
            raise DemoFailed(f"not done after {TIMEOUT_S:g} s") from None
        except httpx2.HTTPError as error:
            raise DemoFailed(f"a request failed: {type(error).__name__} {error}".strip()) from error
        except (KeyError, ValueError) as error:
            raise DemoFailed(f"an answer did not have the form of the protocol: {error!r}") from error


class Demo:
    """One client of a running stack."""

    def __init__(self, client: httpx2.AsyncClient, lines: Lines) -> None:
        self._client, self._lines = client, lines
        self._seen: list[tuple[str, object]] = []

    async def run(self) -> None:
        """Raises DemoFailed, httpx2.HTTPError."""
        began = monotonic()
        task_id, session_id = await self._submit()
        if not await self._follow(task_id, drop=True):
            raise DemoFailed("the task ended before the connection was dropped: there was nothing to resume")
        dropped = len(self._seen)
        cursor = self._seen[-1][0]
        self._lines.note(f"--- connection dropped after {dropped} events, at {cursor}")
        await asyncio.sleep(AWAY_S)
        self._lines.note(f"--- resumed with Last-Event-ID: {cursor}")
        await self._follow(task_id, cursor)
        took_s = monotonic() - began
        self._check(await self._history(session_id, task_id), dropped)
        answer = self._answer()
        self._lines.text(f"\n{answer if len(answer) <= ANSWER else answer[:ANSWER] + ' …'}\n")
        self._lines.note(
            f"{len(self._seen)} events in {took_s:.1f} s, dropped after {dropped}, "
            f"verified against the log: nothing missing, nothing twice"
        )

    async def _submit(self) -> tuple[str, str]:
        self._lines.text(f"POST /api/tasks  {TASK!r}")
        response = await self._client.post("/api/tasks", json={"task": TASK, "agent": "demo", "session_id": "demo"})
        if response.status_code != 202:
            raise DemoFailed(f"the task was not accepted: {response.status_code} {response.text:.500}")
        receipt = response.json()
        return receipt["task_id"], receipt["session_id"]

    async def _follow(self, task_id: str, cursor: str | None = None, drop: bool = False) -> bool:
        """Watch until `end`, or with `drop` until the middle; True when dropped."""
        self._lines.text(f"GET /stream/tasks/{task_id}")
        headers = {} if cursor is None else {"Last-Event-ID": cursor}
        since_call = 0
        async with self._client.sse(f"/stream/tasks/{task_id}", headers=headers) as source:
            if source.response.status_code != 200:
                raise DemoFailed(f"the stream answered {source.response.status_code}: expected 200")
            async for event in source:
                if not event.data:  # a block that sets `retry` only is no event
                    continue
                payload = json.loads(event.data)
                if event.event in CONTROL:
                    self._lines.control(event.event, payload)
                    if event.event == "gap":
                        raise DemoFailed(f"the stream told of a gap where nothing was lost: {event.data}")
                    if event.event == "end":
                        return False
                    continue
                self._lines.event(event.id, event.event, payload)
                self._seen.append((event.id, payload))
                since_call += bool(since_call) or event.event == "tool_call_start"
                if drop and since_call > EVENTS_AFTER_CALL:
                    return True
        raise DemoFailed("the stream closed without an end frame")

    async def _history(self, session_id: str, task_id: str) -> list[tuple[str, object]]:
        """The task's events as the log has them."""
        found: list[tuple[str, object]] = []
        after = "0-0"
        while True:
            query = f"after={after}&limit={PAGE}&format=ndjson"
            response = await self._client.get(f"/api/sessions/{session_id}/events?{query}")
            if response.status_code != 200:
                raise DemoFailed(f"the history answered {response.status_code} {response.text:.500}")
            page = [json.loads(line) for line in response.text.split("\n") if line]
            if not page:
                return found
            if "gap" in page[0]:
                raise DemoFailed(f"the history has a gap: {page[0]}")
            after = page[-1]["id"]
            found += [(event.pop("id"), event) for event in page if event.get("task_id") == task_id]

    def _check(self, log: list[tuple[str, object]], dropped: int) -> None:
        seen_ids, log_ids = [event_id for event_id, _ in self._seen], [event_id for event_id, _ in log]
        if len(self._seen) == dropped:
            raise DemoFailed("nothing came after the resume: the drop was not in the middle")
        if missing := [event_id for event_id in log_ids if event_id not in set(seen_ids)]:
            raise DemoFailed(f"{len(missing)} events of the log were not shown: {', '.join(missing[:5])}")
        if seen_ids != log_ids:
            raise DemoFailed(f"shown were {seen_ids}, but the log is {log_ids}")
        if self._seen != log:
            raise DemoFailed("some event was shown with other content than the log has")

    def _answer(self) -> str:
        last = self._seen[-1][1]
        assert isinstance(last, dict)
        if last["event_type"] != "task_complete":
            raise DemoFailed(f"the task did not complete: {json.dumps(last, ensure_ascii=False):.500}")
        return str(last["final_answer"])
