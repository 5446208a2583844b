"""Responses behind daphne that end before they are whole."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.waiting import wait_until

APPLICATION = "tests.aily.web.servers.ending_early:application"
SECONDS = 30.0


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A web process of that application."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = [sys.executable, "-m", "aily.web.servers.daphne"]
        arguments = ["--fd", "0", APPLICATION]
        with subprocess.Popen([*command, *arguments], stdin=listening.fileno()) as process:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _text(url, "/whole") == "begun, ended", "the web process", SECONDS)
            yield url
            process.terminate()


def _text(base_url: str, path: str) -> str:
    return httpx.get(f"{base_url}{path}", timeout=SECONDS).text


# Twice: the first must not end the server's checks of applications that have ended.
@pytest.mark.parametrize("path", ["/raises", "/is_cancelled"] * 2)
def test_the_connection_is_cut(base_url: str, path: str) -> None:
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        _text(base_url, path)
    assert _text(base_url, "/whole") == "begun, ended"
