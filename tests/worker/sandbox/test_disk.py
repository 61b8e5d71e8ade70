"""How a workspace is measured."""

import os
from pathlib import Path

import pytest

from runcast_worker.guard.disk import ENTRY_BYTES, Measure


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
