"""Finds out within a second that no server listens; the pool would try for several."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import psycopg

_PORT = 5432
_SOCKET_DIRECTORIES = (Path("/var/run/postgresql"), Path("/tmp"))  # noqa: S108 - libpq's own
_LIBPQ_VARIABLES = {"PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"}
#: The protocol's SSLRequest, which a server answers with one byte before anything else.
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def probe(parameters: Mapping[str, object], timeout_seconds: float) -> None:
    """Raise psycopg.OperationalError if no PostgreSQL answers at the address in time.

    Several addresses are left to libpq.
    """
    host = str(parameters.get("host") or "")
    port = str(parameters.get("port") or _PORT)
    if not host:
        _check_default_sockets(parameters, port)
        return
    if "," in host:
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


def _check_default_sockets(parameters: Mapping[str, object], port: str) -> None:
    """Without a host libpq takes a socket in one of these, unless its own variables say more."""
    if "service" in parameters or _LIBPQ_VARIABLES & os.environ.keys():
        return
    files = [directory / f".s.PGSQL.{port}" for directory in _SOCKET_DIRECTORIES]
    if not any(file.exists() for file in files):
        raise psycopg.OperationalError(f"nothing answers at {' or '.join(map(str, files))}")


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
