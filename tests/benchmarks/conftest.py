"""The load client, compiled once."""

import shutil
from pathlib import Path

import pytest

from benchmarks.gateway.programs import compile_load


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the load client."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: the load client is in C")
    folder = tmp_path_factory.mktemp("programs")
    compile_load(folder)
    return folder
