"""One stack of containers for all tests of this folder that are marked `compose`."""

import signal
from collections.abc import Iterator

import pytest

from tests.compose.project import Project
from tests.compose.tour import ComposedRuncast


@pytest.fixture(scope="session")
def project() -> Iterator[Project]:
    """Built, up and healthy; down at the end, also when the run is ended by SIGTERM."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Project().up() as running:
            yield running
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def runcast(project: Project) -> Iterator[ComposedRuncast]:
    """What the tour of tests/fundamentals is made with."""
    front = ComposedRuncast(project)
    with front.http:
        yield front
