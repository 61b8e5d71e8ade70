"""What must hold of a session whose tasks have ended, whatever was commanded."""

from collections import Counter
from collections.abc import Mapping, Sequence

import httpx2

from runcast_events.entry import Entry
from runcast_local.model import Asked
from runcast_local.model.asked import text_of
from tests.commands.stage import WITH_MODEL, Stage
from tests.commands.story import Story, TaskStory, check_order
from tests.commands.told import Told
from tests.history import check_log, check_tasks, check_terminals


def check_session(
    stage: Stage, log: Sequence[Entry], story: Story, order: Sequence[str], about: Mapping[str, Told]
) -> None:
    """Of its whole log, and of what its models and pages were asked."""
    check_log(log)
    check_tasks(log)
    check_terminals(log, order)
    check_order(log, order)
    doubled = [message for message, count in Counter(story.messages).items() if count > 1]
    assert not doubled, f"messages that are there more than once: {doubled}"
    for task_id, told in about.items():
        task = story.tasks[task_id]
        _check_cancel(task)
        _check_calls(stage, task, told)
        if told.agent in WITH_MODEL:
            _check_heard(task, told, story, stage.asked_by(told.mark))


def _check_cancel(task: TaskStory) -> None:
    """What the log says was begun is done."""
    if task.of("task_cancelling"):
        assert task.state == "cancelled", f"{task.id} was to be cancelled and is {task.state}"


def _check_calls(stage: Stage, task: TaskStory, told: Told) -> None:
    """An approved call is made once, with what was approved; a rejected one never."""
    rejected, wanted, whole = set[str](), set[str](), set[str]()
    starts = {start["tool_call_id"]: start for start in task.of("tool_call_start")}
    ends = {end["tool_call_id"]: end for end in task.of("tool_call_complete")}
    for start in starts.values():
        if start["tool_name"] != "fetch":
            continue
        call = start["tool_call_id"]
        path = start["arguments"]["url"].removeprefix(stage.origin)
        decision, arguments = task.decided.get(call, ("approved", None))
        if call in task.asked:
            assert call in task.decided, f"{call} began before it was approved"
            approved = task.asked[call] if arguments is None else arguments
            assert start["arguments"] == approved, f"{call} was made with {start['arguments']}, approved {approved}"
        if decision == "rejected":
            rejected.add(path)
            # It ends as rejected, or with its task where that was cancelled in between.
            assert call not in ends or "error" in ends[call], f"{call} of {task.id} was made: {ends[call]}"
        else:
            wanted.add(path)
            if call in ends and "error" not in ends[call]:
                whole.add(path)
    got = {path: count for path, count in stage.pages.got.items() if path.startswith(f"/{told.mark}/")}
    assert not rejected & got.keys(), f"rejected calls were made: {rejected & got.keys()}"
    if not told.taken:
        assert got.keys() <= wanted, f"calls were made that nobody approved: {got.keys() - wanted}"
        again = {path: count for path, count in got.items() if count > 1}
        assert not again, f"calls were made more than once: {again}"
    assert whole <= got.keys(), f"calls that ended well were never made: {whole - got.keys()}"


def _check_heard(task: TaskStory, told: Told, story: Story, requests: Sequence[Asked]) -> None:
    """What was said and accepted is heard once; of what was rejected the model is told."""
    said = Counter(content for role, content, task_id in story.messages if role == "user" and task_id == task.id)
    for text in told.inputs:
        assert said[text] <= 1
        if task.state == "complete":
            assert said[text] == 1, f"{text} was accepted by {task.id}, and not heard"
            assert text in _texts(requests[-1]), f"the model of {task.id} was not told {text}"
    for request in requests:
        for text, count in Counter(_texts(request)).items():
            assert count == 1 or not text.startswith(("I", "T")), f"the model was told {text} {count} times"
    if task.state == "complete":
        results = [text_of(m) for m in requests[-1].messages if m["role"] == "tool"]
        declined = sum(decision == "rejected" for decision, _ in task.decided.values())
        assert sum("rejected" in result for result in results) >= declined, "the model was not told of a rejection"
        assert requests[-1].messages[-1]["role"] != "assistant"


def _texts(request: Asked) -> list[str]:
    return [text_of(message) for message in request.messages if message["role"] == "user"]


async def check_documents(client: httpx2.AsyncClient, session_id: str, story: Story, log: Sequence[Entry]) -> None:
    """The session's and the tasks' records say what the log says."""
    shown = (await client.get(f"/api/sessions/{session_id}")).json()
    assert [(m["role"], m["content"], m["task_id"]) for m in shown["messages"]] == story.messages
    assert {task["id"]: task["state"] for task in shown["tasks"]} == {
        each.id: each.state for each in story.tasks.values()
    }
    assert shown["todos"] == story.todos
    assert shown["as_of"] == str(log[-1].id)
    for task_id, task in story.tasks.items():
        document = (await client.get(f"/api/tasks/{task_id}")).json()
        mine = [entry for entry in log if entry.task_id == task_id]
        assert document["state"] == task.state
        assert document["terminal_id"] == str(mine[-1].id)
        usage = task.of("token_usage")
        for name in ("input", "output", "cached"):
            assert document["usage"][name] == sum(event[name] for event in usage)
        end = task.events[-1]
        assert document["final_answer"] == end.get("final_answer")
        assert document["cancelled_by"] == (end["by"] if task.state == "cancelled" else None)
        assert document["cancel_reason"] == (end.get("reason") if task.state == "cancelled" else None)
