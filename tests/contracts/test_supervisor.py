"""supervisor: what aily/launcher/supervisord.py replaces is looked up when it is used."""

from __future__ import annotations

from supervisor import loggers, supervisord
from supervisor.datatypes import InetStreamSocketConfig


def test_what_is_replaced_is_there() -> None:
    assert "RotatingFileHandler" in loggers.handle_file.__code__.co_names
    assert "ServerOptions" in supervisord.main.__code__.co_names
    assert callable(supervisord.ServerOptions.parse_fcgi_socket)
    assert callable(InetStreamSocketConfig.create_and_bind)
