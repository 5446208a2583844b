"""How long a plain request waits."""

from __future__ import annotations

import pytest
from pytest_django import Settings
from starlette.requests import Request

from chat.openai.waiting import seconds_to_wait


def request(timeout: str | None) -> Request:
    headers = [(b"x-stainless-read-timeout", timeout.encode())] if timeout is not None else []
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        (None, 590),
        ("600", 590),
        ("100", 98),
        # It wants its own error then.
        ("2", 590),
        ("soon", 590),
        ("nan", 590),
        ("inf", 590),
    ],
)
def test_a_request_is_answered_before_its_client_gives_up(
    timeout: str | None, seconds: float, settings: Settings
) -> None:
    settings.OPENAI_WAIT_SECONDS = 590
    assert seconds_to_wait(request(timeout)) == seconds
