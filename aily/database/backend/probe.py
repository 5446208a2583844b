"""Finds out within a second that no server listens; the pool would try for several."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import psycopg

_PORT = 5432
#: The protocol's SSLRequest, which a server answers with one byte before anything else.
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def probe(parameters: Mapping[str, object], timeout_seconds: float) -> None:
    """Raise psycopg.OperationalError if no PostgreSQL answers at the address in time.

    Several addresses, and libpq's own default, are left to libpq.
    """
    host = str(parameters.get("host") or "")
    port = str(parameters.get("port") or _PORT)
    if not host or "," in host:
        return
    is_socket = host.startswith("/")
    address = str(Path(host) / f".s.PGSQL.{port}") if is_socket else f"{host}:{port}"
    try:
        with _connect(host, int(port), address if is_socket else "", timeout_seconds) as server:
            server.sendall(_SSL_REQUEST)
            if not server.recv(1):
                raise ConnectionResetError("the connection was closed")
    except OSError as error:
        raise psycopg.OperationalError(f"nothing answers at {address}: {error}") from None


def _connect(host: str, port: int, socket_file: str, timeout_seconds: float) -> socket.socket:
    if not socket_file:
        return socket.create_connection((host, port), timeout_seconds)
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(timeout_seconds)
    try:
        server.connect(socket_file)
    except OSError:
        server.close()
        raise
    return server
