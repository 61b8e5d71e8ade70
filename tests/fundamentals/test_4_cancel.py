"""The tour, 4: cancel.

Anybody may ask for the end of a task at any time. What nobody runs ends at once; what runs is told to stop, and its
last event says that it did.
"""

from tests.fundamentals.running import Runcast, names

ENDLESS = {"agent": "script", "params": {"count": 100_000, "rate": 20}}


def test_a_running_task_ends_with_task_cancelled(runcast: Runcast) -> None:
    """The receipt says `cancelling`; the stream says when it is done, by whom and why."""
    receipt = runcast.submit("talk for ever", session_id="cancel", **ENDLESS)
    seen = []
    for block in runcast.watch(receipt["links"]["events"]):
        seen.append(block)
        if names(seen).count("output") == 3 and block.name == "output":
            answer = runcast.http.post(receipt["links"]["cancel"], json={"reason": "heard enough"})
            assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")

    assert names(seen)[-1] == "task_cancelled"
    assert seen[-2].data["reason"] == "heard enough"
    assert "output_complete" in names(seen), "what was open is closed first"
    assert runcast.http.get(receipt["links"]["self"]).json()["state"] == "cancelled"


def test_a_task_that_waits_is_cancelled_at_once_and_never_starts(runcast: Runcast) -> None:
    """It waited behind another one of its session, which is not disturbed."""
    running = runcast.submit("talk for ever", session_id="queue", **ENDLESS)
    waiting = runcast.submit("me too", session_id="queue", **ENDLESS)
    answer = runcast.http.post(waiting["links"]["cancel"])
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert "task_started" not in names(list(runcast.watch(waiting["links"]["events"])))

    assert runcast.http.post(running["links"]["cancel"]).json()["status"] in ("cancelling", "cancelled")
    assert names(list(runcast.watch(running["links"]["events"])))[-1] == "task_cancelled"


def test_to_cancel_what_is_over_changes_nothing(runcast: Runcast) -> None:
    """200 instead of 202: it was over before, and how it ended stays as it was."""
    receipt = runcast.submit("List the files", session_id="late")
    list(runcast.watch(receipt["links"]["events"]))
    answer = runcast.http.post(receipt["links"]["cancel"])
    assert (answer.status_code, answer.json()["status"], answer.json()["state"]) == (200, "ended", "complete")
