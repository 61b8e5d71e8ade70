"""Commands as a client sends them, each answer compared with the model's; and what is done to tasks besides."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2

from runcast_events.entry import Entry
from runcast_events.ids import START, session_of
from runcast_events.reader import LogReader
from tests.attempts import session_keys
from tests.commands.checks import check_documents, check_session
from tests.commands.model import Command, View, allowed, expected
from tests.commands.stage import WITH_MODEL, Plan, Stage
from tests.commands.story import Story
from tests.commands.told import Session, Told

MISSING = "missing.aaaaaaaaaa"
END_S = 30.0


class Desk:
    """Of one example. `sessions` and `told` (what was done to each task) by id. `note`: told of each answer."""

    def __init__(self, stage: Stage, note: Callable[[str], None] = print) -> None:
        self.stage, self._note = stage, note
        self.sessions: dict[str, Session] = {}
        self.told: dict[str, Told] = {}
        self._reader = LogReader(stage.redis)

    async def finish(self) -> None:
        """Let everything go, help what waits, and check."""
        await self.free(*self.sessions.values())
        try:
            async with asyncio.timeout(END_S):
                while not all([await self.at_rest(session) for session in self.sessions.values()]):
                    self.stage.pages.let_go()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            states = {each: self.story(each).tasks[each].state for each in self.told}
            raise AssertionError(f"tasks without an end: {states}") from None
        for session in self.sessions.values():
            about = {each: told for each, told in self.told.items() if each in session.order}
            check_session(self.stage, session.log, session.story, session.order, about)
            await check_documents(self.stage.api.client, session.id, session.story, session.log)

        for session in self.sessions.values():
            lasting = [key async for key in self._lasting(session)]
            assert not lasting, f"keys without a TTL although their session is at rest: {lasting}"
            answer = await self.stage.api.client.delete(f"/api/sessions/{session.id}")
            assert answer.status_code == 204, answer.text

    async def _lasting(self, session: Session) -> AsyncIterator[bytes]:
        for key in await self.stage.redis.keys(f"{session_keys(session.id).base}*"):
            if await self.stage.redis.pttl(key) == -1:
                yield key

    async def free(self, *sessions: Session) -> None:
        for session in sessions:
            session.held = False
        await self.stage.paces.free([session.id for session in sessions])

    async def at_rest(self, session: Session) -> bool:
        """Whether it is, with some help."""
        await self.help(session)
        return session.story.at_rest

    async def help(self, session: Session) -> None:
        """What is paused is resumed, what waits is approved."""
        await self.observe(session)
        for task in session.story.tasks.values():
            command = None
            if task.state == "paused" and self.told[task.id].pause != "overruled":
                command = Command("resume")
            elif task.state == "waiting_approval":
                command = Command("approve", call=task.waiting or "")
            if command is not None:
                await self.command(task.id, command, again=False)

    def session(self, task_id: str) -> Session:
        return self.sessions[session_of(task_id)]

    def story(self, task_id: str) -> Story:
        return self.session(task_id).story

    def asking(self) -> list[tuple[str, str]]:
        stories = [session.story for session in self.sessions.values()]
        return [(task.id, call) for story in stories for task in story.tasks.values() for call in task.asked]

    def running_held(self) -> list[tuple[Session, str]]:
        found = [(s, t) for s in self.sessions.values() if s.held for t in s.story.tasks.values()]
        return [(s, t.id) for s, t in found if t.state == "running" and self.told[t.id].taken < 2]

    async def observe(self, session: Session, task_id: str = "") -> list[View]:
        """Read what the log has now; returns how the task stood, from the last look to this one."""
        views = [self._view(session, task_id)]
        keys = session_keys(session.id)
        while page := (await self._reader.page(keys, session.log[-1].id if session.log else START, 1000)).entries:
            for entry in page:
                session.log.append(entry)
                self.stage.seen[entry.type] += 1
                session.story.tell(entry)
                self._check_pause(session, entry)
                if entry.task_id == task_id:
                    views.append(self._view(session, task_id))
        for paused, requests in session.rested.items():
            told = self.told[paused]
            assert told.taken or self._made(told) == requests, f"{paused} asked its model, or for a page, while paused"
        return views

    def _check_pause(self, session: Session, entry: Entry) -> None:
        told = self.told.get(entry.task_id)
        if told is None:
            return
        if entry.type == "iteration_start" and told.pause == "wanted" and told.begun is not None:
            # One may have been on its way, and one for each input that was heard after an answer; and who takes a task
            # over may begin anew.
            told.begun += 1
            most = 1 + len(told.inputs) + told.taken
            assert told.agent not in WITH_MODEL or told.begun <= most, f"{entry.task_id} does not pause"
        if entry.type == "task_paused":
            assert told.pause != "no", f"{entry.task_id} paused once more than it was asked to"
            if told.pause == "wanted":
                told.pause = "no"
            session.rested[entry.task_id] = self._made(told)
        elif entry.type in ("task_resumed", "task_cancelled"):
            session.rested.pop(entry.task_id, None)

    def _made(self, told: Told) -> tuple[int, int]:
        pages = sum(count for page, count in self.stage.pages.got.items() if page.startswith(f"/{told.mark}/"))
        return len(self.stage.asked_by(told.mark)), pages

    async def observe_all(self) -> None:
        for session in self.sessions.values():
            await self.observe(session)

    def _view(self, session: Session, task_id: str) -> View:
        task = session.story.tasks.get(task_id)
        if task is None:
            return View("", None, {})
        told = self.told[task_id]
        answered = len(self.stage.asked_by(told.mark)) > len(told.plan)
        decided, said = dict(task.decided), frozenset(told.inputs)
        return View(task.state, task.waiting, decided, told.agent in WITH_MODEL, answered, said)

    async def send(self, task_id: str, command: Command) -> httpx2.Response:
        path, body = command.request(task_id)
        answer = await self.stage.api.client.post(path, json=body)
        self.stage.seen[f"{command.kind} {answer.status_code}"] += 1
        self._note(f"{command.kind} {command.text or command.call} {task_id}: {answer.status_code} {answer.text[:120]}")
        if answer.status_code >= 400:
            document = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert document["status"] == answer.status_code < 500
            assert document["title"]
            assert document["detail"]
        return answer

    async def command(self, task_id: str, command: Command, again: bool) -> None:
        """Send it, and compare with the model; `again`: it is the same a second time, and does nothing more."""
        session = self.session(task_id)
        await self.observe(session, task_id)
        views = [self._view(session, task_id)]
        count = len(session.log)
        before = self.told[task_id].pause
        self._want(command, self.told[task_id])
        answer = await self.send(task_id, command)
        if answer.status_code != 202:
            self.told[task_id].pause = before
        views += await self.observe(session, task_id)
        self._check_answer(task_id, command, answer, views)
        if session.held and not self._late(task_id):
            wanted = expected(command, views[0]).event
            new = [entry.type for entry in session.log[count:]]
            assert new == ([] if wanted is None else [wanted]), (
                f"{command} of {task_id} in {views[0].state} wrote {new}"
            )
        self._note_effect(command, answer, task_id)
        if again and (command.kind != "input" or command.input_id is not None):
            await self.command(task_id, command, again=False)

    def _late(self, task_id: str) -> bool:
        """Whether something may be done in any moment that was asked for before."""
        told = self.told[task_id]
        return told.cancelling or told.pause in ("overruled", "maybe")

    def _want(self, command: Command, told: Told) -> None:
        if command.kind == "pause":
            told.pause, told.begun = "wanted", None

    def _check_answer(self, task_id: str, command: Command, answer: httpx2.Response, views: list[View]) -> None:
        document = answer.json()
        got = (answer.status_code, document.get("code"), document.get("state"))
        right = {(each.status, each.code, each.state) for view in views for each in allowed(command, view)}
        assert got in right, f"{command} of {task_id} was answered {got}; expected one of {right}"

    def _note_effect(self, command: Command, answer: httpx2.Response, task_id: str) -> None:
        told = self.told[task_id]
        if command.kind == "input" and answer.status_code == 202 and command.text not in told.inputs:
            told.inputs.append(command.text)
        if command.kind == "cancel" and answer.status_code == 202:
            told.cancelling = True
        if command.kind == "pause" and told.pause == "wanted" and self.session(task_id).held:
            told.begun = 0
        if command.kind == "resume" and answer.status_code == 202:
            told.pause = "no" if told.pause == "no" else "overruled"

    async def at_once(self, task_id: str, commands: list[Command]) -> None:
        session, told = self.session(task_id), self.told[task_id]
        await self.observe(session, task_id)
        before = told.pause
        for command in commands:
            self._want(command, told)
        answers = await asyncio.gather(*(self.send(task_id, command) for command in commands))
        views = await self.observe(session, task_id)
        for command, answer in zip(commands, answers, strict=True):
            self._check_answer(task_id, command, answer, views)
            if command.kind in ("input", "cancel"):
                self._note_effect(command, answer, task_id)
        if {"pause", "resume"} <= {command.kind for command in commands}:
            told.pause = "maybe"
        elif before == "maybe":
            told.pause = before

    async def submit_new(self, held: bool, agent: str, plan: Plan) -> Session:
        """To a session of its own."""
        session = Session(self.stage.name("s"), held)
        self.sessions[session.id] = session
        if held:
            self.stage.paces.hold(session.id)
        await self.submit(session, agent, plan, "enqueue")
        return session

    async def submit(self, session: Session, agent: str, plan: Plan, *choices: str) -> None:
        """A task for each choice of what if the session is busy, all in the same moment."""
        await self.observe(session)
        before = set(session.story.live)
        made = [Told(self.stage.name("T"), agent, plan) for _ in choices]
        answers = await asyncio.gather(*(self._post(session, *each) for each in zip(made, choices, strict=True)))
        accepted: dict[str, tuple[str, str | None]] = {}
        for told, choice, answer in zip(made, choices, answers, strict=True):
            document = answer.json()
            if answer.status_code == 202:
                self.told[document["task_id"]] = told
                accepted[document["task_id"]] = (choice, document["interrupted"])
            else:
                assert (answer.status_code, document["code"], choice) == (409, "session_busy", "reject"), answer.text
        await self.observe(session)
        for index, entry in enumerate(session.log):
            if entry.type == "task_queued" and entry.task_id in accepted:
                self._queued(session, index, *accepted[entry.task_id])
        assert accepted.keys() <= set(session.order), "an accepted task is not in the log"
        for answer in answers:
            assert set(answer.json().get("task_ids", ())) <= before | accepted.keys()
        assert before or accepted, "a session at rest refused all"

    def _queued(self, session: Session, index: int, choice: str, interrupted: str | None) -> None:
        """At the event of that index a task was accepted: the choice was right then, and its place follows."""
        live = Story(session.log[:index]).live
        line = [task for task in session.order if task in live]
        assert choice != "reject" or not line, f"accepted although {line} were live"
        assert interrupted == (line[0] if line and choice == "interrupt" else None)
        place = len(session.order)
        if interrupted is not None:
            self.told[interrupted].cancelling = True
            place = session.order.index(interrupted) + 1
        session.order.insert(place, session.log[index].task_id)

    async def _post(self, session: Session, told: Told, on_busy: str) -> httpx2.Response:
        body: dict[str, Any] = {
            "task": self.stage.prompt(told.mark, told.plan),
            "session_id": session.id,
            "agent": told.agent,
            "on_busy": on_busy,
            "params": {"origin": self.stage.origin},
        }
        return await self.stage.api.client.post("/api/tasks", json=body)
