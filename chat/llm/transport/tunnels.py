"""CONNECT tunnels through HTTP proxies, for TLS connections to a provider."""

from __future__ import annotations

import asyncio
import base64
import socket

from chat.llm.errors import AuthError, UnreachableError
from chat.llm.types import Proxy

MAX_HEAD_BYTES = 16 * 1024


async def open_tunnel(reached: socket.socket, host: str, port: int, proxy: Proxy) -> None:
    """Ask the proxy at the other end of a new socket to connect to `host`.

    Raises UnreachableError, or AuthError if the proxy refuses the credentials. Bytes that the
    server sends first are lost; with TLS there are none.
    """
    loop = asyncio.get_running_loop()
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [
        f"CONNECT {target} HTTP/1.1".encode(),
        f"host: {target}".encode(),
        *authorization_lines(proxy),
    ]
    await loop.sock_sendall(reached, b"\r\n".join(lines) + b"\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await loop.sock_recv(reached, 4096)
        if not piece or len(head) > MAX_HEAD_BYTES:
            raise UnreachableError("no connection: the proxy gave no answer to CONNECT")
        head += piece
    _check_status(head.partition(b"\r\n")[0])


def authorization_lines(proxy: Proxy) -> list[bytes]:
    """The header with the proxy's credentials, if there are any."""
    if not proxy.credentials:
        return []
    return [b"proxy-authorization: Basic " + base64.b64encode(proxy.credentials.encode())]


def _check_status(line: bytes) -> None:
    version, _, status = line.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not status[:3].isdigit():
        raise UnreachableError("no connection: the proxy's answer is not HTTP")
    if status.startswith(b"407"):
        raise AuthError("the proxy does not take the credentials")
    if not status.startswith(b"2"):
        reason = status[:100].decode("latin-1")
        raise UnreachableError(f"no connection: the proxy answered {reason}")
