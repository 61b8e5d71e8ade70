"""`python -m runcast_local up | demo | edge`."""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runcast_local import demo, edge
from runcast_local.errors import FolderBusy, LocalError
from runcast_local.lines import Lines
from runcast_local.settings import EdgeSettings, StackSettings
from runcast_local.stack import LOOPBACK, Ports, Stack, plan
from runcast_local.supervisor import Supervisor
from runcast_service.logging import configure_logging
from runcast_service.server import Ping, raise_file_limit, serve
from runcast_service.settings import explain
from runcast_service.websocket import WebSocketProtocol

FOLDER = Path(".runcast")
INTERRUPTED = 130
PING_S = 20.0
OPEN = "it listens on {}, and whoever reaches it can run commands here: callers are not known yet (RUNCAST_AUTH)."


def main() -> None:
    parser = argparse.ArgumentParser(
        "runcast_local", description=f"{__doc__} Settings: RUNCAST_*, see docs/settings.md."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="the whole stack on http://localhost:8080 until Ctrl-C; data in .runcast/")
    commands.add_parser("demo", help="one task through every hop: watch, drop, resume, check")
    commands.add_parser("edge", help="the proxy alone, before an api and a gateway that run elsewhere")
    command = parser.parse_args().command
    try:
        sys.exit({"up": _up, "demo": _demo, "edge": _edge}[command]())
    except LocalError as error:
        sys.exit(f"runcast {command}: {error}")
    except ValidationError as error:
        sys.exit(f"runcast {command}: {explain(error)}")


def _up() -> int:
    settings = StackSettings()
    with _alone(FOLDER):
        stack = plan(settings, Ports.of(settings), FOLDER, os.environ)
        return asyncio.run(_interruptible(_stay_up(stack), 0))


async def _stay_up(stack: Stack) -> None:
    async with Supervisor(stack.end_timeout_s) as supervisor:
        await stack.start(supervisor)
        print(_banner(stack), flush=True)
        await supervisor.watch()


def _demo() -> int:
    work = demo.run(StackSettings(), Path.cwd(), os.environ, Lines(sys.stdout))
    return asyncio.run(_interruptible(work, INTERRUPTED))


def _edge() -> int:
    settings = EdgeSettings()
    configure_logging(settings.log_level, "edge", settings.log_format)
    app = edge.create_app(settings)
    raise_file_limit(2 * edge.CONNECTIONS + 100)  # every stream takes two: one to the client, one upstream
    # uvicorn calls a response error that the edge left incomplete because its upstream was; the edge says it better.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "without completing response" not in str(record.msg))
    serve(
        app,
        host=settings.host,
        port=settings.port,
        on_exit=app.close,
        grace_s=2,
        ws=WebSocketProtocol,
        ping=Ping(PING_S, 3 * PING_S),
    )
    return 0


async def _interruptible(work: Coroutine[Any, Any, None], code: int) -> int:
    """`code` when a signal ended `work`. A second signal cancels its cleaning up as well, which then kills."""
    task = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return code
    return 0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two stores on the same files would ruin them. Raises FolderBusy."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusy(
                f"another stack keeps its data in {folder.resolve()}. End it, or run in another folder."
            ) from None
        yield


def _banner(stack: Stack) -> str:
    url, ports = stack.url.replace(LOOPBACK, "localhost"), stack.ports
    store = stack.store
    where = (
        f"{store.url} ({store.program.path.name} {store.program.version}, {store.program.origin})" if store else "yours"
    )
    open_to = "" if stack.host in edge.LOOPBACK_NAMES else f"\nWARNING: {OPEN.format(stack.host)}\n"
    return f"""
Runcast is up: {url}   Ctrl-C ends it.
{open_to}
  API docs   {url}/api/docs
  streams    {url}/stream/sessions/SESSION_ID
  metrics    http://localhost:{ports.api_admin}/metrics; gateway {ports.gateway_admin}, worker {ports.worker_admin}
  store      {where}
  agents     {stack.environ["RUNCAST_AGENTS_FILE"]}
  workspaces {stack.environ["RUNCAST_WORKSPACES"]}

Try it, the second in another terminal:

  curl -N {url}/stream/sessions/first
  curl {url}/api/tasks -H 'content-type: application/json' -d '{{"session_id": "first", "task": "List the files"}}'
"""


if __name__ == "__main__":
    main()
