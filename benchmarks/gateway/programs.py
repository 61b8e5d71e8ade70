"""The programs in C, compiled for a run: the load client, and the floor."""

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread")
COMPILE_S = 120.0


class NoCompiler(Exception):
    """There is no `cc`."""


def compile_load(folder: Path) -> Path:
    """Raises NoCompiler."""
    return _compile(folder / "load", sorted((HERE / "load").glob("*.c")))


def compile_floor(folder: Path) -> Path:
    """Raises NoCompiler."""
    return _compile(folder / "floor", [HERE / "systems" / "floor.c"])


def compiler() -> str:
    """Raises NoCompiler."""
    if found := shutil.which("cc"):
        return found
    raise NoCompiler("the load client is in C and there is no `cc`: on Debian, apt-get install gcc libc6-dev")


def _compile(program: Path, sources: list[Path]) -> Path:
    if not program.exists():
        command = (compiler(), *FLAGS, "-o", str(program), *map(str, sources))
        subprocess.run(command, check=True, timeout=COMPILE_S)
    return program
