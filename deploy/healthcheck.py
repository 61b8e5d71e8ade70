"""Whether this container's own admin port says 200: `python -IS healthcheck.py /livez`, which exits with 0 or 1.

A socket alone, since it runs every few seconds in every container: no import that takes longer than the question.
"""

import os
import socket
import sys

TIMEOUT_S = 3.0


def main() -> None:
    address = ("127.0.0.1", int(os.environ["RUNCAST_ADMIN_PORT"]))
    with socket.create_connection(address, TIMEOUT_S) as connection:
        connection.sendall(f"GET {sys.argv[1]} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status = connection.recv(4096).split(b"\r\n", 1)[0].split()
    sys.exit(0 if status[1:2] == [b"200"] else 1)


if __name__ == "__main__":
    main()
