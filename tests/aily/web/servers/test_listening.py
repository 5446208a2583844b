"""The socket of a web process: its own, or the one that it was given."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from aily.web.servers.listening import listening_socket
from tests.ports import free_ports


def test_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    monkeypatch.setattr(sys, "argv", ["server", "--port", str(port)])
    with listening_socket("aily.server", None) as listener:
        assert listener.getsockname() == ("127.0.0.1", port)


def test_a_socket_that_is_file_descriptor_0() -> None:
    script = (
        "from aily.web.servers.listening import listening_socket\n"
        "print(listening_socket('aily.server', None).getsockname()[1])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = subprocess.run(
            [sys.executable, "-c", script], stdin=listener.fileno(), capture_output=True, check=True
        )
        assert int(result.stdout) == listener.getsockname()[1]


def test_a_wrong_argument_names_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["server", "--port", "http"])
    with pytest.raises(SystemExit):
        listening_socket("aily.server", "A server.")
    assert "python -m aily.server: error" in capsys.readouterr().err
