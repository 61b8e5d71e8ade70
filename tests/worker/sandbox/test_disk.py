"""How a workspace is measured."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from runcast_worker.guard.disk import ENTRY_BYTES, Measure

NOBODY = 65534


def test_measuring_is_done_in_slices_and_comes_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the slices; hard links count once, and only growth beyond the limit counts."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for number in range(50):
        (tmp_path / "deep" / "er" / str(number)).touch()
        os.link(tmp_path / "deep" / "er" / str(number), tmp_path / f"again-{number}")
    monkeypatch.setattr("runcast_worker.guard.disk.REST_S", 0.0)
    measure = Measure(str(tmp_path), limit=52 * ENTRY_BYTES)
    for _ in range(300):
        measure.step(0)
    assert not measure.grown_over
    (tmp_path / "one-more").touch()
    for _ in range(300):
        measure.step(0)
    assert measure.grown_over


def test_every_entry_gives_a_turn(tmp_path: Path) -> None:
    """Also one that does not count: a million links to one file must not keep a guard from its other duties."""
    (tmp_path / "file").touch()
    for number in range(20):
        os.link(tmp_path / "file", tmp_path / str(number))
    sizes = list(Measure(str(tmp_path), limit=2**30).sizes())
    assert sorted(sizes) == [0] * 21 + [ENTRY_BYTES]


def test_a_huge_folder_is_read_little_by_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first entry comes before its last was asked for."""
    for number in range(30):
        (tmp_path / str(number)).touch()
    asked = 0

    def counted(folder: int) -> Iterator[os.DirEntry[str]]:
        nonlocal asked
        with os.scandir(folder) as entries:
            for entry in entries:
                asked += 1
                yield entry

    monkeypatch.setattr("runcast_worker.guard.disk.os", SimpleNamespace(**{**vars(os), "scandir": counted}))
    sizes = Measure(str(tmp_path), limit=2**30).sizes()
    assert [next(sizes), next(sizes), next(sizes)] == [0, ENTRY_BYTES, ENTRY_BYTES]
    assert asked == 2


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o300, 0o000, 0o100])
def test_a_folder_that_cannot_be_listed_hides_nothing_and_stays_as_it_is(mode: int) -> None:
    """Measured as a user without privileges, whose folder it is."""
    with tempfile.TemporaryDirectory() as made:
        hidden = Path(made) / "w" / "hidden"
        (hidden / "deeper").mkdir(parents=True)
        (hidden / "deeper" / "big").write_bytes(b"x" * 1_000_000)
        for path in (Path(made), hidden.parent, hidden, hidden / "deeper", hidden / "deeper" / "big"):
            os.chown(path, NOBODY, NOBODY)
        (hidden / "deeper").chmod(mode)
        hidden.chmod(mode)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                sizes = Measure(str(hidden.parent), limit=2**30).sizes()
                found = sum(sizes)
                status = 0 if 1_000_000 <= found < 2_000_000 else 3
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert hidden.stat().st_mode & 0o7777 == mode
