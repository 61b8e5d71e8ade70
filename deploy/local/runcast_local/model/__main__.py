"""`python -m runcast_local.model [--port 8090]`."""

import argparse
import logging

from runcast_local.model.characters import NAMES
from runcast_local.model.stub import Stub
from runcast_service.logging import configure_logging
from runcast_service.server import serve


def main() -> None:
    parser = argparse.ArgumentParser("runcast_local.model", description=f"A stub of a model. {__doc__}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    arguments = parser.parse_args()
    if not 0 <= arguments.port <= 65535:
        parser.error(f"--port {arguments.port}: expected 1 to 65535, or 0 for any free one")
    configure_logging("INFO", "model")
    # uvicorn calls a response error that a stub of a failing model left incomplete on purpose.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "without completing response" not in str(record.msg))
    stub = Stub()
    print(f"RUNCAST_LLM_BASE_URL=http://{arguments.host}:{arguments.port}/v1, models: {', '.join(NAMES)}", flush=True)
    serve(stub.app, host=arguments.host, port=arguments.port, on_exit=stub.close, grace_s=2)


if __name__ == "__main__":
    main()
