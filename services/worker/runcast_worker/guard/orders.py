"""What a guard is told on its command line: the limits, how to confine, and the command."""

from collections.abc import Mapping, Sequence

GIVEN = "RUNCAST_GIVEN_"
"""What a variable of the command is called in the environment of its guard."""


class Orders:
    """`confined`: the command is bubblewrap, which closes it in; else the guard does what it can. Sizes in bytes.
    No dataclass: importing that alone would take a third of the guard's start."""

    __slots__ = ("argv", "confined", "cpu_s", "disk", "file", "memory", "network", "processes", "tty")

    def __init__(
        self,
        argv: Sequence[str],
        *,
        confined: bool,
        tty: bool,
        network: bool,
        memory: int,
        processes: int,
        file: int,
        disk: int,
        cpu_s: int,
    ) -> None:
        self.argv, self.confined, self.tty, self.network = tuple(argv), confined, tty, network
        self.memory, self.processes, self.file, self.disk, self.cpu_s = memory, processes, file, disk, cpu_s

    def words(self) -> list[str]:
        """For the command line; `read` is the way back."""
        numbers = (self.confined, self.tty, self.network, self.memory, self.processes, self.file, self.disk, self.cpu_s)
        return [*(str(int(number)) for number in numbers), *self.argv]


def read(words: Sequence[str]) -> Orders:
    confined, tty, network, memory, processes, file, disk, cpu_s = (int(word) for word in words[:8])
    return Orders(
        words[8:],
        confined=bool(confined),
        tty=bool(tty),
        network=bool(network),
        memory=memory,
        processes=processes,
        file=file,
        disk=disk,
        cpu_s=cpu_s,
    )


def given(environ: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The command's environment, from that of its guard."""
    prefix = GIVEN.encode()
    return {name.removeprefix(prefix): value for name, value in environ.items() if name.startswith(prefix)}
