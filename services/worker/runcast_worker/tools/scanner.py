"""Runs scan.py in a workspace, with a limit to its time and to its answer."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from runcast_worker.tools import Surroundings, ToolFailed

PROGRAM = Path(__file__).with_name("scan.py")
PYTHON = Path(sys.executable).resolve()
SEEN = (Path(sys.base_prefix), PROGRAM)
"""What the program needs that a sandbox does not show of itself."""
TIMEOUT_S = 10.0
ANSWER_BYTES = 8 * 1024 * 1024


async def scan(surroundings: Surroundings, request: dict[str, Any]) -> JsonValue:
    """The program's answer. Raises ToolFailed."""
    # -I and -S: nothing of the workspace or of the site is imported.
    argv = (str(PYTHON), "-I", "-S", str(PROGRAM), json.dumps(request))
    policy = surroundings.policy.model_copy(update={"read": SEEN, "network": False})
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            surroundings.sandbox.run(argv, surroundings.workspace, policy) as running,
        ):
            drain = asyncio.create_task(running.stderr.read(4096))
            try:
                data = await _read(running.stdout)
            finally:
                drain.cancel()
                await asyncio.gather(drain, return_exceptions=True)
    except TimeoutError:
        raise ToolFailed("timeout", f"looking through the files took more than {TIMEOUT_S:g} s") from None
    except OSError as error:
        raise ToolFailed("failed", f"the files could not be looked through: {error.strerror}") from None
    try:
        answer = json.loads(data)
    except ValueError:
        raise ToolFailed("failed", "the files could not be looked through: no answer, or one too long") from None
    if "error" in answer:
        raise ToolFailed("invalid_arguments", answer["error"])
    result: JsonValue = answer
    return result


async def _read(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while chunk := await reader.read(64 * 1024):
        data += chunk
        if len(data) > ANSWER_BYTES:
            break
    return bytes(data)
