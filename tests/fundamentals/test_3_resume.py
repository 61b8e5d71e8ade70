"""The tour, 3: drop and resume.

Connections break. A client comes back with the id of the last event it was shown (an EventSource does that by itself)
and is shown exactly what follows it: nothing is missing, nothing comes twice, whichever gateway it meets.
"""

import httpx2
import pytest

from tests.fundamentals.running import Block, Runcast, ids

STEADY = {"agent": "script", "params": {"count": 100, "rate": 60}}
"""Somewhat less than two seconds of output."""


def test_a_client_that_drops_goes_on_where_it_was(runcast: Runcast) -> None:
    """In the middle of the output, a dozen times."""
    receipt = runcast.submit("talk", session_id="drop", **STEADY)
    seen: list[Block] = []
    ended = False
    while not ended:
        taken = 0
        for block in runcast.watch(receipt["links"]["events"], cursor=seen[-1].id if seen else ""):
            ended = block.name == "end"
            if block.name in ("connected", "end"):
                continue
            seen.append(block)
            taken += 1
            if taken == 10:
                break  # closes the connection

    assert ids(seen) == runcast.log("drop")[1:]
    said = "".join(block.data["delta"] for block in seen if block.name == "output")
    assert said == next(block.data["content"] for block in seen if block.name == "output_complete")


def test_a_gateway_that_is_killed_costs_a_reconnect_and_no_event(runcast: Runcast) -> None:
    """A gateway keeps nothing that matters: another one, or the same one anew, goes on from the client's cursor."""
    receipt = runcast.submit("talk", session_id="killed", **STEADY)
    stream = receipt["links"]["events"]
    seen: list[Block] = []

    def watch() -> None:
        for block in runcast.watch(stream, cursor=seen[-1].id if seen else ""):
            seen.append(block)
            if len(seen) == 30:
                runcast.kill("gateway")

    with pytest.raises(httpx2.TransportError):
        watch()  # cut off, and it does not look like an end
    assert runcast.http.get(stream).status_code == 502
    dropped = len(seen)

    runcast.start("gateway")
    runcast.wait_for("gateway")
    watch()
    assert len(seen) > dropped + 10, "the task was over before the gateway was back: nothing was resumed"
    assert seen[-1].name == "end"
    assert not [block for block in seen if block.name == "gap"]
    assert ids(seen) == runcast.log("killed")[1:]


def test_whoever_saw_the_end_is_told_that_nothing_follows(runcast: Runcast) -> None:
    """An EventSource reconnects after every end; 204 is what stops it."""
    receipt = runcast.submit("List the files", session_id="over")
    last = list(runcast.watch(receipt["links"]["events"]))[-1]
    answer = runcast.http.get(receipt["links"]["events"], headers={"Last-Event-ID": last.id})
    assert answer.status_code == 204


@pytest.mark.parametrize("cursor", ["yesterday", "1-2-3", "-1", "9" * 40])
def test_a_cursor_that_is_none_is_refused(runcast: Runcast, cursor: str) -> None:
    """Before the stream starts, with what was expected: never a silent replay of everything."""
    answer = runcast.http.get("/stream/sessions/start", headers={"Last-Event-ID": cursor})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_cursor"
    assert "expected <epoch>-<n>" in answer.json()["detail"]
