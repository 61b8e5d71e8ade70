"""One stack for the whole tour."""

from collections.abc import Iterator

import pytest

from tests.fundamentals.running import Runcast


@pytest.fixture(scope="session")
def runcast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runcast]:
    """Store, api, worker, gateway and edge, as processes of this machine."""
    with Runcast(tmp_path_factory.mktemp("runcast")).up() as running:
        yield running
