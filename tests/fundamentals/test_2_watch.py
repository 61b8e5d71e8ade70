"""The tour, 2: watch what happens.

A stream shows the event log of a session: first its past, then its present, over one connection that any EventSource
can open. Every event has an id, and the id is the cursor after it.
"""

import json
from typing import Any

from tests.fundamentals.running import Runcast, ids, names


def test_a_stream_begins_with_its_position_and_ends_with_the_task(runcast: Runcast) -> None:
    """`connected` and `end` are frames of the gateway; all between them stands in the log."""
    receipt = runcast.submit("List the files", session_id="watch")
    blocks = list(runcast.watch(receipt["links"]["events"]))

    assert (blocks[0].name, blocks[0].data["session_id"]) == ("connected", "watch")
    assert (blocks[-1].name, blocks[-1].id) == ("end", blocks[-2].id)
    kinds = names(blocks)
    assert kinds[:2] == ["message_added", "task_queued"]
    assert kinds[-1] == "task_complete"
    assert {"task_started", "plan_created", "tool_call_start", "tool_call_complete", "output"} <= set(kinds)


def test_whoever_watches_before_the_session_exists_misses_nothing(runcast: Runcast) -> None:
    """An unknown session is one that may soon exist: the stream waits for it."""
    seen = []
    for block in runcast.watch("/stream/sessions/early"):
        seen.append(block)
        if block.name == "connected":
            runcast.submit("List the files", session_id="early")
        if block.name == "task_complete":
            break
    assert names(seen)[0] == "session_created"
    assert ids(seen) == runcast.log("early")


def test_two_clients_are_shown_the_same(runcast: Runcast) -> None:
    """One from the first event on, one that comes when all is over: the log is the truth, not the connection."""
    receipt = runcast.submit("List the files", session_id="both")
    live = list(runcast.watch(receipt["links"]["events"]))
    late = []
    for block in runcast.watch("/stream/sessions/both"):
        late.append(block)
        if block.name == "task_complete":
            break
    assert ids(late) == runcast.log("both")
    assert ids(live) == ids(late)[1:], "the stream of a task leaves out what is of the session alone: session_created"


def test_a_websocket_shows_the_same_and_takes_commands(runcast: Runcast) -> None:
    """Each event is a JSON message; a command is answered under its request id, its effects are events like all."""
    with runcast.talk("/stream/ws?session_id=talk") as socket:
        socket.send('{"request_id": "a", "type": "submit", "task": "List the files"}')
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1].get("event_type") != "task_complete":
            frames.append(json.loads(socket.recv(timeout=20)))
    (answer,) = [frame["response"] for frame in frames if "response" in frame]
    assert (answer["request_id"], answer["status"], answer["body"]["session_id"]) == ("a", 202, "talk")
    assert [frame["id"] for frame in frames if "event_type" in frame] == runcast.log("talk")


def test_a_filter_shows_only_some_types(runcast: Runcast) -> None:
    """For a client that wants the answer, and not how it came about."""
    receipt = runcast.submit("List the files", session_id="filter")
    blocks = list(runcast.watch(receipt["links"]["events"] + "?types=output_complete,task_complete"))
    assert names(blocks) == ["output_complete", "task_complete"]
