"""Process agents: a program's life as events."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from runcast_events.keys import Keyspace
from runcast_tasks.control import Control
from runcast_worker.engines.process import ProcessEngine
from tests.attempts import TENANT
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker

SECRET = "canary-7f3a9b2c"
CARRIAGE = r"printf 'plain\r\n\033[32mgreen\033[0m\r\nbad \377 byte\r\n'"
PATTERNS = """
[agents.patterns]
engine = "process"
command = ["/bin/sh", "-c", "{prompt}"]
[agents.patterns.patterns]
answer = 'answer: (?P<value>.*)'
tokens = 'tokens=([0-9]+)'
whole = '\\bE[0-9]+\\b'
"""


@pytest.fixture
def agents_file(tmp_path: Path) -> Path:
    """Agents that run the prompt: by a shell where it is one argument, by Python where it is a program."""
    path = tmp_path / "agents.toml"
    python = json.dumps(sys.executable)
    path.write_text(
        f"""
        [agents.shell]
        engine = "process"
        command = ["/bin/sh", "-c", "{{prompt}}"]
        [agents.once]
        engine = "process"
        command = ["/bin/sh", "-c", "{{prompt}}"]
        restart = false
        [agents.small]
        engine = "process"
        command = ["/bin/sh", "-c", "{{prompt}}"]
        sandbox = {{ disk_mb = 4 }}
        [agents.python]
        engine = "process"
        command = [{python}, "-c", "{{prompt}}"]
        sandbox.read = [{json.dumps(sys.base_prefix)}, {json.dumps(sys.prefix)}]
        [agents.echo]
        engine = "process"
        command = ["/bin/echo", "<{{prompt}}>", "again {{prompt}}"]
        [agents.bare]
        engine = "process"
        command = ["/bin/echo", "{{prompt}}"]
        [agents.ended]
        engine = "process"
        command = ["/usr/bin/printf", "--", "{{prompt}}\\n"]
        [agents.variable]
        engine = "process"
        command = ["/bin/sh", "-c", 'printf "%s|%s|" "$RUNCAST_PROMPT" "$TERM"; pwd']
        [agents.given]
        engine = "process"
        command = ["/bin/sh", "-c", 'printf "%s|%s|" "$FROM_WORKER" "$TERM"; env | grep -c CANARY_OTHER; true']
        env = {{ FROM_WORKER = "<${{CANARY_GIVEN}}>", TERM = "dumb" }}
        [agents.missing]
        engine = "process"
        command = ["no-such-program-here", "{{prompt}}"]
        """
        + PATTERNS
    )
    return path


def payloads(log: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(entry.payload) for entry in log]


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event_type"] == kind]


async def play(client: Client, start_worker: StartWorker, agent: str, prompt: str) -> list[dict[str, Any]]:
    """The events of one task, from its start."""
    async with start_worker(engines={"process": ProcessEngine(sample_s=0.1)}):
        log = payloads(await client.ended(await client.submit(prompt, agent=agent)))
    return log[next(i for i, event in enumerate(log) if event["event_type"] == "task_started") :]


async def test_a_program_is_told_from_its_start_to_its_exit(client: Client, start_worker: StartWorker) -> None:
    """Started, a numbered line each, exited; its output is the answer."""
    events = await play(client, start_worker, "shell", "echo one; echo two")
    assert [event["event_type"] for event in events] == [
        *("task_started", "state", "log", "log", "state"),
        *("output_start", "output", "output_complete", "message_added", "task_complete"),
    ]
    assert [(e["line"], e["line_num"], e["stream"]) for e in of_type(events, "log")] == [
        ("one", 1, "stdout"),
        ("two", 2, "stdout"),
    ]
    started, exited = of_type(events, "state")
    assert started["state"] == "started"
    assert (exited["state"], exited["exit_code"]) == ("exited", 0)
    assert 0 <= exited["duration_ms"] < 10_000
    assert events[-1]["final_answer"] == "one\ntwo"


async def test_lines_keep_their_colours_and_lose_what_is_no_text(client: Client, start_worker: StartWorker) -> None:
    """CR LF is one end, a byte that is no UTF-8 is replaced; the answer has no colours."""
    events = await play(client, start_worker, "shell", CARRIAGE)
    assert [e["line"] for e in of_type(events, "log")] == ["plain", "\x1b[32mgreen\x1b[0m", "bad \ufffd byte"]
    assert events[-1]["final_answer"] == "plain\ngreen\nbad \ufffd byte"


@pytest.mark.parametrize(
    "prompt", ["$(id) `id` ; rm -rf x", "'\"\\ {prompt} %s", "two\nlines 🎉", "--help", "{}", "{0} {prompt"]
)
async def test_a_prompt_is_one_argument_and_never_a_shells(
    client: Client, start_worker: StartWorker, prompt: str
) -> None:
    """Whatever it holds; also inside a longer argument, and as often as it is named."""
    events = await play(client, start_worker, "echo", prompt)
    assert "\n".join(e["line"] for e in of_type(events, "log")) == f"<{prompt}> again {prompt}"


@pytest.mark.parametrize("agent", ["bare", "shell"])
async def test_a_prompt_is_never_an_option(client: Client, start_worker: StartWorker, agent: str) -> None:
    """Where the program would take it for one, the task fails, and says what to do; nothing is started."""
    events = await play(client, start_worker, agent, "-n --sandbox=off")
    assert (events[-1]["event_type"], events[-1]["kind"]) == ("task_failed", "process")
    assert events[-1]["error"].startswith("the prompt begins with '-', which the command would take for an option")
    assert not of_type(events, "state")


async def test_a_prompt_behind_the_end_of_options_may_begin_with_a_dash(
    client: Client, start_worker: StartWorker
) -> None:
    """As the program is told by `--`."""
    events = await play(client, start_worker, "ended", "-n --help")
    assert [e["line"] for e in of_type(events, "log")] == ["-n --help"]


async def test_a_prompt_is_also_a_variable(client: Client, start_worker: StartWorker) -> None:
    """Beside the allowlist; the program runs in the session's workspace."""
    events = await play(client, start_worker, "variable", "do $this")
    assert re.fullmatch(r"do \$this\|xterm-256color\|/.+", of_type(events, "log")[0]["line"])


async def test_a_program_is_given_what_the_agents_file_names(
    client: Client, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the worker's environment nothing else; what it was given is a secret, whatever its name."""
    monkeypatch.setenv("CANARY_GIVEN", SECRET)
    monkeypatch.setenv("CANARY_OTHER", "another-thing")
    events = await play(client, start_worker, "given", "x")
    assert of_type(events, "log")[0]["line"] == "<[secret]>|dumb|0"


async def test_a_variable_that_is_not_set_fails_the_task(client: Client, start_worker: StartWorker) -> None:
    """Before the program is started."""
    events = await play(client, start_worker, "given", "x")
    assert (events[-1]["event_type"], events[-1]["kind"]) == ("task_failed", "process")
    assert "FROM_WORKER needs ${CANARY_GIVEN}" in events[-1]["error"]


async def test_extractions_follow_their_line(client: Client, start_worker: StartWorker) -> None:
    """The group `value`, else the first group, else the whole match; colours do not hide a match."""
    events = await play(
        client, start_worker, "patterns", r"printf '\033[1mto\033[0mkens=42 E17\n'; echo no; echo 'answer: yes'"
    )
    told = [e for e in events if e["event_type"] in ("log", "extraction")]
    assert [e["line_num"] for e in told] == [1, 1, 1, 2, 3, 3]
    assert [(e["pattern"], e["value"]) for e in of_type(events, "extraction")] == [
        ("tokens", "42"),
        ("whole", "E17"),
        ("answer", "yes"),
    ]


async def test_a_line_that_ends_as_it_stood_is_told_once(client: Client, start_worker: StartWorker) -> None:
    """Patterns see it when it has ended."""
    events = await play(client, start_worker, "patterns", "printf 'tokens=1'; sleep 2.6; echo; echo E1")
    assert [(e["line"], e["line_num"]) for e in of_type(events, "log")] == [("tokens=1", 1), ("E1", 2)]
    assert [(e["value"], e["line_num"]) for e in of_type(events, "extraction")] == [("1", 1), ("E1", 2)]


async def test_a_line_that_goes_on_after_it_stood_still_is_told_whole(
    client: Client, start_worker: StartWorker
) -> None:
    """A question, perhaps: who looks sees what the program waits for. The whole line is what the answer has."""
    events = await play(client, start_worker, "shell", "printf 'Continue? '; sleep 2.6; echo no")
    told = [(e["line"], e["line_num"]) for e in of_type(events, "log")]
    assert told == [("Continue? ", 1), ("Continue? no", 2)]
    assert events[-1]["final_answer"] == "Continue? no"


async def test_the_last_extraction_named_answer_is_the_answer(client: Client, start_worker: StartWorker) -> None:
    """It joins the conversation; the rest of the output does not."""
    events = await play(client, start_worker, "patterns", "echo 'answer: first'; echo noise; echo 'answer: last'")
    assert events[-1]["final_answer"] == "last"
    assert [e["content"] for e in of_type(events, "message_added")] == ["last"]


async def test_without_a_match_there_is_no_answer_where_one_was_looked_for(
    client: Client, start_worker: StartWorker
) -> None:
    """The output is not taken for one."""
    events = await play(client, start_worker, "patterns", "echo noise")
    assert (events[-1]["event_type"], events[-1]["final_answer"]) == ("task_complete", "")
    assert not of_type(events, "output_start")


async def test_a_hostile_line_does_not_stall_the_worker(client: Client, start_worker: StartWorker) -> None:
    """A megabyte without an end is cut at the bound, and what it holds is looked through in no time."""
    events = await play(client, start_worker, "patterns", "head -c 1000000 /dev/zero | tr '\\0' E; echo; echo 'E1'")
    lines = of_type(events, "log")
    assert len(lines) == 2
    assert "its rest is left out" in lines[0]["line"]
    assert [e["value"] for e in of_type(events, "extraction")] == ["E1"]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("echo broken; exit 3", 3, "the command ended with exit code 3; its last lines:\nbroken"),
        ("exit 1", 1, "the command ended with exit code 1; it printed nothing"),
    ],
)
async def test_another_exit_code_than_0_fails_the_task(
    client: Client, start_worker: StartWorker, command: str, code: int, said: str
) -> None:
    """The error says the code and shows the last lines."""
    events = await play(client, start_worker, "shell", command)
    assert of_type(events, "state")[-1]["exit_code"] == code
    assert (events[-1]["event_type"], events[-1]["kind"], events[-1]["error"]) == ("task_failed", "process", said)


async def test_a_program_that_takes_too_much_fails_the_task(client: Client, start_worker: StartWorker) -> None:
    """The error names the limit."""
    events = await play(client, start_worker, "small", "yes > big; sleep 10")
    assert events[-1]["kind"] == "process"
    assert "the command was killed: it reached its sandbox's limit disk_mb" in events[-1]["error"]


async def test_a_program_that_is_killed_fails_the_task(client: Client, start_worker: StartWorker) -> None:
    """By whom is not known; by what is said."""
    events = await play(client, start_worker, "shell", "echo last words; kill -KILL $$")
    assert events[-1]["kind"] == "process"
    assert events[-1]["error"] == "the command was ended by SIGKILL; its last lines:\nlast words"


@pytest.mark.parametrize(
    ("agent", "prompt", "said"),
    [
        ("missing", "x", "no-such-program-here"),
        ("echo", "a\0b", "NUL"),
        ("echo", "x" * 140_000, "at most"),
        ("variable", "é" * 70_000, "at most"),
    ],
)
async def test_a_program_that_cannot_be_started_fails_the_task(
    client: Client, start_worker: StartWorker, agent: str, prompt: str, said: str
) -> None:
    """With a sentence that says why."""
    events = await play(client, start_worker, agent, prompt)
    assert (events[-1]["event_type"], events[-1]["kind"]) == ("task_failed", "process")
    assert said in events[-1]["error"]


async def test_a_running_program_is_sampled(client: Client, start_worker: StartWorker) -> None:
    """Memory and processor time, at the interval, while it runs; not afterwards."""
    work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 1.2"
    events = await play(client, start_worker, "shell", work)
    states = [e["state"] for e in of_type(events, "state")]
    assert states[0] == "started"
    assert states[-1] == "exited"
    assert states.count("sample") >= 2
    samples = [e for e in of_type(events, "state") if e["state"] == "sample"]
    assert samples[-1]["rss_bytes"] > 100_000
    assert samples[-1]["cpu_s"] > 0


async def test_a_secret_that_is_printed_is_not_told(
    client: Client, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a line, an extraction, the answer or the error; also when it is printed in two halves."""
    monkeypatch.setenv("CANARY_API_KEY", SECRET)
    half = f"printf {SECRET[:7]}; sleep 0.1; echo {SECRET[7:]}"
    events = await play(client, start_worker, "patterns", f"{half}; echo answer: {SECRET}; echo {SECRET}; exit 1")
    told = [e for e in events if e["event_type"] != "task_started"]
    assert SECRET not in json.dumps(told)
    assert [e["line"] for e in of_type(events, "log")] == ["[secret]", "answer: [secret]", "[secret]"]


async def test_cancelling_ends_the_whole_tree(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    """The program and what it started, soon."""
    mark = f"{os.getpid()}{id(tmp_path)}"
    async with start_worker(engines={"process": ProcessEngine()}):
        task_id = await client.submit(f"sleep 300.{mark} & echo up; sleep 301.{mark}", agent="shell")
        await client.wrote("log")
        await wait_until(lambda: len(_commands(mark)) >= 2)
        await Control(client.redis, client.log, Keyspace(), TENANT).cancel(task_id, "test", None)
        log = await client.ended(task_id)
        await wait_until(lambda: not _commands(mark), message="a process is left")
    assert log[-1].type == "task_cancelled"


async def test_a_flood_can_be_cancelled(client: Client, start_worker: StartWorker) -> None:
    """It waits for the log, and holds up neither the worker nor its own end."""
    async with start_worker(log_max_entries=1000):
        task_id = await client.submit("yes", agent="shell")
        await client.wrote("log", count=500)
        other = await client.submit("echo other", agent="shell", session_id="s2")
        await client.ended(other)
        await Control(client.redis, client.log, Keyspace(), TENANT).cancel(task_id, "test", None)
        await wait_until(lambda: _ended(client, task_id), 10, "the flood went on")


async def _ended(client: Client, task_id: str) -> bool:
    return await client.state(task_id) == "cancelled"


async def test_a_program_that_leaves_a_process_behind_ends_all_the_same(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    """What holds the terminal open does not hold up the task, and is ended with it."""
    mark = f"{os.getpid()}{id(tmp_path)}"
    async with asyncio.timeout(10):
        events = await play(client, start_worker, "shell", f"sleep 300.{mark} & echo done")
    assert events[-1]["final_answer"] == "done"
    await wait_until(lambda: not _commands(mark), message="a process is left")


async def test_everything_that_was_printed_is_told(client: Client, start_worker: StartWorker) -> None:
    """A flood waits for the log; what was printed right before the exit is not lost."""
    events = await play(client, start_worker, "shell", "seq 1 5000")
    assert [e["line"] for e in of_type(events, "log")] == [str(n) for n in range(1, 5001)]
    assert len(events[-1]["final_answer"].splitlines()) == 50


async def test_a_program_sees_a_terminal(client: Client, start_worker: StartWorker) -> None:
    """All of its streams are one, so that it prints as it does for a person."""
    program = "import os, sys; print([os.isatty(n) for n in (0, 1, 2)]); sys.stderr.write('from stderr')"
    events = await play(client, start_worker, "python", program)
    assert [e["line"] for e in of_type(events, "log")] == ["[True, True, True]", "from stderr"]


def _commands(mark: str) -> list[str]:
    """Command lines that are running `sleep` with this mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if line.startswith("sleep\0") and mark in line:
            found.append(line)
    return found


@pytest.mark.parametrize(("agent", "ends", "started"), [("shell", "task_complete", 2), ("once", "task_failed", 1)])
async def test_a_command_whose_worker_ended_is_started_again_or_fails(
    client: Client, start_worker: StartWorker, tmp_path: Path, agent: str, ends: str, started: int
) -> None:
    """As the agents file says: a process cannot go on where it was."""
    began = tmp_path / "workspaces/default/s1/began"
    async with start_worker():
        task_id = await client.submit("echo x >> began; [ $(wc -l < began) = 2 ] || sleep 60", agent=agent)
        await wait_until(began.exists)
    async with start_worker():
        log = await client.ended(task_id)
    assert log[-1].type == ends
    assert len(began.read_text().split()) == started
