"""Why the local stack did not come up, or ended. Each class says when; the text is meant for the terminal."""

from collections.abc import Sequence
from pathlib import Path


class LocalError(Exception):
    """Base of this package's errors."""


class NoStore(LocalError):
    """No store is configured and no server program was found, or the one found does not start."""


class InvalidRoutes(LocalError):
    """The table of routes cannot be read or does not have its form."""


class NoAgentsFile(LocalError):
    """The file of agents is not there, or no file. What is wrong inside it the services say."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"RUNCAST_AGENTS_FILE: {path}: expected a file. Unset it to use the agents that come with us.")
        self.path = path


class PortBusy(LocalError):
    """A port that the stack wants is in use, or not allowed."""

    def __init__(self, what: str, port: int, reason: str, setting: str) -> None:
        super().__init__(
            f"port {port} ({what}) cannot be used: {reason}. End what listens there, or set {setting} to another port."
        )
        self.what, self.port = what, port


class StoreAway(LocalError):
    """The store that a setting names does not answer."""

    def __init__(self, setting: str, where: str, reason: str) -> None:
        super().__init__(f"the store at {setting} ({where}) does not answer: {reason}")
        self.setting = setting


class FolderBusy(LocalError):
    """Another stack keeps its data in this folder."""


class ChildDied(LocalError):
    """A child process ended that nobody had asked to. `code`: as Popen gives it, negative for a signal."""

    def __init__(self, name: str, code: int, lines: Sequence[str]) -> None:
        how = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
        super().__init__(f"{name} {how}{_said(lines)}")
        self.name, self.code = name, code


class NotReady(LocalError):
    """A child process runs, but did not become ready in time."""

    def __init__(self, name: str, timeout_s: float, lines: Sequence[str]) -> None:
        super().__init__(f"{name} was not ready after {timeout_s:g} s{_said(lines)}")
        self.name = name


class DemoFailed(LocalError):
    """The demo saw something else than what Runcast promises."""


def _said(lines: Sequence[str]) -> str:
    return "; its last lines were:\n" + "\n".join(f"  {line}" for line in lines) if lines else ", without a word"
