"""`python -m runcast_gateway`: the stream gateway, configured by RUNCAST_*."""

import asyncio
import sys

from pydantic import ValidationError

from runcast_gateway.app import create_app
from runcast_gateway.listener import listen
from runcast_gateway.settings import GatewaySettings
from runcast_gateway.transports.handover import StreamProtocol
from runcast_gateway.transports.websocket import DrainedWebSocket
from runcast_service.logging import configure_logging
from runcast_service.server import Ping, raise_file_limit, serve
from runcast_service.settings import explain

OPEN_FILES = 100_000


def main() -> None:
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        sys.exit(f"runcast_gateway cannot start: {explain(error)}")
    configure_logging(settings.log_level, "gateway", settings.log_format)
    raise_file_limit(OPEN_FILES)
    try:
        bound = listen(settings.host, settings.port)
    except OSError as error:
        sys.exit(f"runcast_gateway cannot start: {error}")
    draining, listening = asyncio.Event(), asyncio.Event()

    def drain() -> None:
        # A signal handler may run in the middle of anything: only leave a note for the loop.
        asyncio.get_running_loop().call_soon_threadsafe(draining.set)

    serve(
        create_app(settings, draining, listening),
        host=settings.host,
        port=settings.port,
        on_exit=drain,
        grace_s=int(settings.drain_s) + 5,
        http=StreamProtocol,
        ws=DrainedWebSocket,
        ping=Ping(settings.heartbeat_s, settings.send_timeout_s),
        listening=listening,
        bound=bound,
    )


if __name__ == "__main__":
    main()
