"""Ports that servers started by tests can listen on."""

from __future__ import annotations

import os
import random
import socket

#: Below 32768, where the kernel takes the ports of outgoing connections from: one of those could
#: have become some connection's own by the time the server that it was found for binds it.
_RANGE = range(12_000, 32_000)
#: Each process of pytest-xdist has a part of them: no other takes what it has found and not yet
#: bound.
_PARTS = 8
#: Ports that this process has found before.
_found: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Find consecutive ports of 127.0.0.1 that no process listens on.

    Chosen at random, as several test runs on one machine look for some at the same time.
    """
    part = _part_of(os.environ.get("PYTEST_XDIST_WORKER", "gw0"))
    while True:
        first = random.randrange(part.start, part.stop - count)
        ports = list(range(first, first + count))
        if _found.isdisjoint(ports) and all(_is_free(port) for port in ports):
            _found.update(ports)
            return ports


def _part_of(worker: str) -> range:
    number = int(worker.removeprefix("gw")) % _PARTS
    size = len(_RANGE) // _PARTS
    return _RANGE[number * size : (number + 1) * size]


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
