"""The socket a web process listens on, by its command line."""

from __future__ import annotations

import argparse
import socket

BACKLOG = 4096
_SOCKET_FD = 0


def listening_socket(module: str, description: str | None) -> socket.socket:
    """A new one on --port, or the one that is file descriptor 0."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="without it: file descriptor 0 is listening")
    given = parser.parse_args()
    if given.port is None:
        return socket.socket(fileno=_SOCKET_FD)
    return socket.create_server((given.host, given.port), backlog=BACKLOG)
