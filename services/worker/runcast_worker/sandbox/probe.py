"""Which sandbox this machine allows: found by running a command in it, not by looking for signs."""

import asyncio
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from runcast_agents import SandboxPolicy
from runcast_worker.guard import landlock, seccomp
from runcast_worker.sandbox.bubblewrap import PROGRAM, STRICT
from runcast_worker.sandbox.sandbox import Sandbox

logger = logging.getLogger(__name__)

PROBE_S = 15.0
COMMAND = ("/bin/sh", "-c", "test -w . && test ! -e /etc/shadow && echo works")


class SandboxMissing(Exception):
    """RUNCAST_SANDBOX=required, and this machine has no working bubblewrap; the message says what was tried."""


async def find_sandbox(mode: Literal["auto", "required", "reduced"]) -> Sandbox:
    """Probe what this machine allows, and log it. Raises SandboxMissing."""
    if mode == "reduced":
        _warn("RUNCAST_SANDBOX=reduced")
        return Sandbox("reduced")
    program = shutil.which(PROGRAM)
    if program is None:
        why = f"there is no program {PROGRAM} on PATH; install the package bubblewrap"
    else:
        why = ""
        for flags in (STRICT, ()):
            found = Sandbox("bubblewrap", flags, os.path.abspath(program))  # noqa: ASYNC240 - no I/O but a relative PATH
            failed = await _failure(found)
            if failed is None:
                logger.info("sandbox: bubblewrap%s", "" if flags else ", which is too old for --disable-userns")
                return found
            why = why or f"bubblewrap does not work here: {failed}"
    if mode == "required":
        raise SandboxMissing(f"RUNCAST_SANDBOX=required, but {why}. What containers need: docs/sandbox.md")
    _warn(why)
    return Sandbox("reduced")


async def _failure(sandbox: Sandbox) -> str | None:
    """Why a command does not run in it as it should; None: it does."""
    with tempfile.TemporaryDirectory(prefix="runcast-probe-") as made:
        folder = Path(os.path.realpath(made))  # noqa: ASYNC240 - at start, once
        try:
            async with (
                asyncio.timeout(PROBE_S),
                sandbox.run(COMMAND, folder, SandboxPolicy()) as running,
            ):
                said, wrong = await running.stdout.read(4096), await running.stderr.read(4096)
                code = await running.wait()
        except TimeoutError:
            return f"the probe did not end in {PROBE_S:g} s"
        except OSError as error:
            return str(error)
    if code == 0 and said == b"works\n":
        return None
    return wrong.decode(errors="replace").strip() or f"the probe ended with {code}"


def _warn(why: str) -> None:
    known = landlock.version()
    closed = [name for since, name in ((1, "files"), (4, "TCP"), (6, "signals")) if since <= known]
    unfiltered = seccomp.missing()
    logger.warning(
        "sandbox: reduced, because of this: %s. Commands can read what the worker's user can; Landlock closes %s; "
        "the filter of system calls closes %s",
        why,
        ", ".join(closed) or "nothing on this kernel",
        "sockets and other processes' limits" if unfiltered is None else f"nothing: {unfiltered}",
    )
