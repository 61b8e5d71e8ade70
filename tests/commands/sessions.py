"""What is done to sessions: forked and deleted, and looked at afterwards."""

from tests.commands.desk import Desk
from tests.commands.model import KINDS, Command
from tests.commands.story import Story
from tests.commands.told import Session


async def fork(desk: Desk, session: Session, at: int, again: bool) -> None:
    """At one of its events, into a session of which nothing else is done."""
    await desk.observe(session)
    body = {"at": str(session.log[at].id), "session_id": desk.stage.name("f")}
    path = f"/api/sessions/{session.id}/fork"
    answer = await desk.stage.api.client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    shown = (await desk.stage.api.client.get(f"/api/sessions/{body['session_id']}")).json()
    then = Story(session.log[: at + 1])
    assert [(m["role"], m["content"], m["task_id"]) for m in shown["messages"]] == then.messages
    assert shown["todos"] == then.todos
    assert shown["tasks"] == []
    assert (shown["forked_from"]["session_id"], shown["forked_from"]["event_id"]) == (session.id, body["at"])
    if again:
        assert (await desk.stage.api.client.post(path, json=body)).status_code == 200
        other = await desk.stage.api.client.post(path, json={**body, "at": "1-1"})
        assert (other.status_code, other.json()["code"]) == (409, "session_exists"), other.text
    unknown = await desk.stage.api.client.post(path, json={"at": "1-1"})
    assert unknown.status_code in (404, 410)
    assert (await desk.stage.api.client.delete(f"/api/sessions/{body['session_id']}")).status_code == 204


async def delete(desk: Desk, session: Session, force: bool) -> None:
    """Nothing of it is there afterwards, or it is as it was."""
    if force:
        await desk.free(session)
        desk.stage.pages.let_go()
    await desk.observe(session)
    live = set(session.story.live)
    path = f"/api/sessions/{session.id}"
    answer = await desk.stage.api.client.delete(path, params={"force": force})
    if answer.status_code == 204:
        assert force or not live or not session.held
        assert (await desk.stage.api.client.delete(path)).status_code == 204
        assert (await desk.stage.api.client.get(path)).json()["code"] == "session_deleted"
        for task_id in session.order:
            for kind in KINDS:
                gone = await desk.send(task_id, Command(kind, text="x", call="1.0"))
                assert (gone.status_code, gone.json()["code"]) == (410, "session_deleted"), (kind, gone.text)
            del desk.told[task_id]
        del desk.sessions[session.id]
    else:
        await desk.observe(session)
        assert not force
        assert live
        assert (answer.status_code, answer.json()["code"]) == (409, "session_busy"), answer.text
        assert set(answer.json()["task_ids"]) <= live
