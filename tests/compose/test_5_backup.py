"""Backup and restore, as docs/deploy.md tells them: the commands of that page, run on the stack."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.compose.project import ROOT, SERVICES, Project
from tests.compose.tour import ComposedRuncast

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

PAGE = ROOT / "docs" / "deploy.md"


def commands(heading: str) -> list[str]:
    """The lines of the first block below a heading of the page."""
    block = re.search(rf"^### {heading}\n.*?^```\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None, f"{PAGE} has no block below {heading}"
    return [line for line in block[1].replace("\\\n", "").split("\n") if line]


def test_what_was_backed_up_comes_back(project: Project, runcast: ComposedRuncast, tmp_path: Path) -> None:
    """Sessions and workspaces, after both volumes were lost."""
    asked = {"session_id": "kept", "agent": "demo"}
    first = runcast.submit("run `echo remember > note.txt; cat note.txt`", **asked)
    assert "remember" in str(list(runcast.watch(first["links"]["events"])))
    log = runcast.log("kept")

    for line in commands("Backup"):
        shell(project, line, tmp_path)
    forgotten = runcast.submit("List the files", session_id="forgotten")
    list(runcast.watch(forgotten["links"]["events"]))

    project.compose("rm", "--stop", "--force", "store", "worker")
    project.remove_volumes("store", "workspaces")
    for line in commands("Restore"):
        shell(project, line, tmp_path)
    for service in SERVICES:
        project.wait_healthy(service)

    assert runcast.log("kept") == log
    assert runcast.http.get("/api/sessions/forgotten").status_code == 404
    second = runcast.submit("run `cat note.txt`", **asked)
    assert "remember" in str(list(runcast.watch(second["links"]["events"], cursor=log[-1])))


def shell(project: Project, line: str, folder: Path) -> None:
    """`docker compose` of the page is the project's own command."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line.replace("docker compose", shlex.join(project.command))],
        cwd=folder,
        env=project.environ,
        capture_output=True,
        timeout=180,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout!r}\n{done.stderr!r}"
