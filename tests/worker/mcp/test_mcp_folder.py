"""Where servers that are processes are started: nowhere that an agent can write to."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from runcast_agents import McpServer
from runcast_worker.engines import EngineError
from runcast_worker.mcp.folder import OPEN, place
from tests.conftest import wait_until
from tests.worker.mcp.test_mcp import SERVERS, call, opened, raw


async def test_nothing_that_an_agent_left_is_run_as_its_server(tmp_path: Path) -> None:
    """A server has the worker's rights and secrets, and is looked up around the folder that it is started in."""
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(EngineError, match="No module named planted"):
        async with opened(tmp_path, {"my": McpServer(command=(sys.executable, "-m", "planted"))}):
            pass
    assert not (tmp_path / "ran").exists()


async def test_a_server_is_started_in_an_empty_folder_of_its_own(tmp_path: Path) -> None:
    """Its temporary files go there too, and it goes with the server. `${WORKSPACE}` tells it the session's."""
    (tmp_path / "file").touch()
    command = (sys.executable, str(SERVERS / "raw.py"), "started", "in ${WORKSPACE}", "${HOME}")
    server = McpServer(command=command, env={"WHERE": "${WORKSPACE}"})
    async with opened(tmp_path, {"my": server}) as tools:
        said = await call(tools["my_call"], tmp_path)
        assert isinstance(said, dict)
        assert (said["files"], said["arguments"]) == ([], [f"in {tmp_path}", "${HOME}"])
        assert said["descriptors"] == []  # of its keeper's and the worker's
        folder, given = Path(str(said["folder"])), said["env"]
        assert isinstance(given, dict)
        assert (given["TMPDIR"], given["WHERE"]) == (str(folder), str(tmp_path))
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert not any(folder.is_relative_to(theirs) for theirs in (tmp_path, *OPEN))
        (folder / "left").mkdir()
    await wait_until(lambda: not folder.exists())


@pytest.mark.parametrize("home", ["/tmp/somebody", "{workspace}"])
async def test_a_folder_that_commands_can_write_to_is_no_place_for_a_server(tmp_path: Path, home: str) -> None:
    """The task fails, and says what was expected."""
    environ = {**os.environ, "XDG_CACHE_HOME": "", "HOME": home.format(workspace=tmp_path)}
    with pytest.raises(EngineError, match="no folder to start it in: expected a HOME") as failed:
        async with opened(tmp_path, {"my": raw("well")}, environ):
            pass
    assert (failed.value.kind, failed.value.retryable) == ("mcp", False)


def test_a_place_that_only_bubblewrap_hides_is_one_only_there(tmp_path: Path) -> None:
    """Its commands see no temporary folder of the host's; without a HOME it is the only one."""
    environ = {"XDG_CACHE_HOME": "", "HOME": os.devnull}
    assert place(environ, tmp_path, reduced=False) == Path(tempfile.gettempdir()).resolve()
    with pytest.raises(OSError, match="no folder to start it in"):
        place(environ, tmp_path, reduced=True)
