"""The tour, 1: start a task.

Everything begins with a POST. It answers as soon as the task is in the log of its session, and a worker begins to run
it some milliseconds later; nobody waits for the end of it.
"""

from tests.fundamentals.running import Runcast, names


def test_a_task_is_accepted_and_runs_to_its_end(runcast: Runcast) -> None:
    """The receipt says where the task is and where its events are; the record of the task keeps the outcome."""
    receipt = runcast.submit("List the files", session_id="start")
    assert receipt["status"] == "accepted"
    assert receipt["session_id"] == "start"
    assert receipt["links"]["events"] == f"/stream/tasks/{receipt['task_id']}"

    for _ in runcast.watch(receipt["links"]["events"]):
        pass  # the stream of a task ends with the task

    task = runcast.http.get(receipt["links"]["self"]).json()
    assert task["state"] == "complete"
    assert task["final_answer"].startswith("This is the demo agent")


def test_a_session_is_a_conversation(runcast: Runcast) -> None:
    """What was asked and what was answered, in the order it was said."""
    receipt = runcast.submit("List the files", session_id="conversation")
    list(runcast.watch(receipt["links"]["events"]))

    messages = runcast.http.get("/api/sessions/conversation").json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0]["content"] == "List the files"


def test_tasks_of_one_session_run_one_after_the_other(runcast: Runcast) -> None:
    """A session has one holder: a task starts when the one asked for before it has ended, and not before."""
    script = {"agent": "script", "session_id": "turns"}
    receipts = [runcast.submit("talk", params={"count": 20, "rate": 60}, **script)]
    receipts += [runcast.submit("talk", params={"count": 1}, **script) for _ in range(2)]
    task_ids = [receipt["task_id"] for receipt in receipts]

    seen = []
    for block in runcast.watch("/stream/sessions/turns"):
        seen.append(block)
        if names(seen).count("task_complete") == len(task_ids):
            break

    moves = [(block.name, block.data["task_id"]) for block in seen if block.name in ("task_started", "task_complete")]
    assert moves == [(name, task_id) for task_id in task_ids for name in ("task_started", "task_complete")]


def test_a_task_that_makes_no_sense_is_refused_with_a_reason(runcast: Runcast) -> None:
    """Every error is a problem document with a stable `code`; nothing was accepted."""
    answer = runcast.http.post("/api/tasks", json={"task": "hello", "agent": "nobody"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unknown_agent"
