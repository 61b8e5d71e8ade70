"""The front door of the compose project, with what the tour of tests/fundamentals does to the processes behind it."""

from tests.compose.project import Project
from tests.fundamentals.running import FrontDoor


class ComposedRuncast(FrontDoor):
    """As tests.fundamentals.running.Runcast, with containers for processes."""

    def __init__(self, project: Project) -> None:
        super().__init__(project.url)
        self._project = project

    def kill(self, name: str) -> None:
        """All of the service: no other replica answers instead."""
        self._project.kill(name)

    def start(self, name: str) -> None:
        self._project.start(name)

    def wait_for(self, name: str) -> None:
        self._project.wait_healthy(name)
