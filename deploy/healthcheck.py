"""What this container's own admin port says: `python -IS healthcheck.py /readyz` prints it, and exits with 0 for a 200.

A socket alone, since it runs every few seconds in every container: no import that takes longer than the question.
"""

import os
import socket
import sys

TIMEOUT_S = 3.0
MAX_BYTES = 4 * 1024 * 1024


def main() -> None:
    answer = b""
    address = ("127.0.0.1", int(os.environ["RUNCAST_ADMIN_PORT"]))
    with socket.create_connection(address, TIMEOUT_S) as connection:
        connection.sendall(f"GET {sys.argv[1]} HTTP/1.0\r\n\r\n".encode())
        while len(answer) < MAX_BYTES and (chunk := connection.recv(65536)):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    sys.stdout.buffer.write(body + b"\n")
    sys.exit(0 if head.split()[1:2] == [b"200"] else 1)


if __name__ == "__main__":
    main()
