"""Ports that servers started by tests can listen on."""

from __future__ import annotations

import random
import socket

#: Below 32768, where the kernel takes the ports of outgoing connections from: one of those could
#: have become some connection's own by the time the server that it was found for binds it.
_RANGE = range(12_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Find consecutive ports of 127.0.0.1 that no process listens on.

    Chosen at random, as several test runs on one machine look for some at the same time.
    """
    while True:
        first = random.randrange(_RANGE.start, _RANGE.stop - count)
        ports = list(range(first, first + count))
        if all(_is_free(port) for port in ports):
            return ports


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
