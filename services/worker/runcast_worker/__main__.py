"""`python -m runcast_worker`: a worker, configured by RUNCAST_*. SIGTERM and SIGINT drain it; it then ends with 0."""

import asyncio
import signal
import sys

from pydantic import ValidationError

from runcast_agents import InvalidAgents
from runcast_service.logging import configure_logging
from runcast_service.settings import explain
from runcast_worker.deps import open_deps
from runcast_worker.engines.registry import open_engines
from runcast_worker.sandbox import SandboxMissing, hide
from runcast_worker.settings import WorkerSettings
from runcast_worker.worker import work


async def run(settings: WorkerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_engines(settings) as engines, open_deps(settings, engines) as deps:
        await work(deps, stop)


def main() -> None:
    hide()
    try:
        settings = WorkerSettings()
        configure_logging(settings.log_level, "worker", settings.log_format)
        asyncio.run(run(settings))
    except ValidationError as error:
        sys.exit(f"runcast_worker cannot start: {explain(error)}")
    except SandboxMissing as error:
        sys.exit(f"runcast_worker cannot start: {error}")
    except InvalidAgents as error:
        sys.exit(f"runcast_worker cannot start: RUNCAST_AGENTS_FILE: {error}")


if __name__ == "__main__":
    main()
