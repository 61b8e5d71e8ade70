"""The api process: `python -m runcast_api`."""

import asyncio
import sys

from pydantic import ValidationError

from runcast_agents import InvalidAgents
from runcast_api.app import create_app
from runcast_api.settings import ApiSettings
from runcast_service.logging import configure_logging
from runcast_service.server import serve
from runcast_service.settings import explain


def main() -> None:
    try:
        settings = ApiSettings()
        listening = asyncio.Event()
        app = create_app(settings, listening)
    except ValidationError as error:
        sys.exit(f"runcast_api cannot start: {explain(error)}")
    except InvalidAgents as error:
        sys.exit(f"runcast_api cannot start: {error}")
    configure_logging(settings.log_level, "api", settings.log_format)
    serve(app, host=settings.host, port=settings.port, listening=listening)


if __name__ == "__main__":
    main()
