"""A server without the `mcp` package, for what a proper one does not do. The first argument says what."""

import json
import os
import signal
import sys
import time
from pathlib import Path

LISTED = [{"name": "call", "inputSchema": {"type": "object"}}]


def say(message: dict[str, object]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def started() -> dict[str, object]:
    """Where it is, what is there, and what it was given."""
    about = {"folder": os.getcwd(), "files": os.listdir(), "arguments": sys.argv[2:], "env": dict(os.environ)}
    opened = [number for number in range(3, 1024) if os.path.exists(f"/proc/self/fd/{number}")]
    return {"content": [], "structuredContent": {**about, "descriptors": opened}}


ANSWERS = {"nonsense": lambda: {"content": "nothing of the kind"}, "started": started}


def fail(how: str) -> None:
    """At the start, or not at all."""
    if how == "mute":
        time.sleep(600)
    if how == "broken":
        sys.exit("cannot read its configuration")
    if how == "raising":
        raise OSError("no such port")


def main() -> None:
    how = sys.argv[1]
    fail(how)
    if how == "stubborn":
        signal.signal(signal.SIGTERM, lambda *_: (Path(sys.argv[2]) / "asked").touch())
    for line in sys.stdin:
        request = json.loads(line)
        method, id_ = request["method"], request.get("id")
        if method == "initialize":
            print("starting up …", flush=True)  # no message: as some servers do
            about = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
            say({"id": id_, "result": {**about, "serverInfo": {"name": "raw", "version": "1"}}})
        elif method == "tools/list":
            say({"id": id_, "result": {"tools": LISTED}})
        elif method == "tools/call" and how == "endless":
            while True:
                sys.stdout.write("x" * 65536)
        elif method == "tools/call" and how == "silent":
            continue
        elif method == "tools/call" and how in ANSWERS:
            say({"id": id_, "result": ANSWERS[how]()})
        elif id_ is not None:
            say({"id": id_, "error": {"code": -32601, "message": "no such method"}})
    while how == "stubborn":
        time.sleep(0.05)


main()
