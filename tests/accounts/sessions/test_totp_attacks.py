"""Ways round the second factor: old and later codes, guesses at once, half a login."""

from __future__ import annotations

import base64
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import async_to_sync
from django.db import connections
from django.test import Client
from django_otp.oath import TOTP

from accounts.models import APIKey, TOTPDevice, User
from accounts.sessions import totp
from accounts.websocket import identify_websocket
from tests.accounts.authenticator import (
    PASSWORD,
    Authenticator,
    end_pause,
    give,
    log_in,
    username,
)

#: Seconds for which a code is that of now.
STEP = 30
#: Paths that take a login, and what they are asked with.
_PATHS = {
    "GET": ("/", "/admin/", "/admin/chat/task/", "/admin/console/", "/account/", "/account/totp/"),
    "POST": ("/account/password/", "/account/totp/", "/admin/chat/scene/add/"),
}
_REST = ("/api/me", "/api/keys", "/api/tables", "/api/llmchat/tasks", "/api/me/sessions")


class Clock:
    """Stands still, in the middle of a step of half a minute."""

    def __init__(self) -> None:
        self.now = time.time() // STEP * STEP + STEP / 2

    def time(self) -> float:
        return self.now

    def code(self, app: Authenticator, steps: int = 0) -> str:
        """The code of so many steps later."""
        generator = TOTP(base64.b32decode(app.secret))
        generator.time = self.now + STEP * steps
        return f"{generator.token():06}"


@pytest.fixture
def clock(app: Authenticator, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """No code has been used yet."""
    clock = Clock()
    monkeypatch.setattr(totp, "time", clock)
    TOTPDevice.objects.update(last_step=-1)
    return clock


@pytest.mark.parametrize(
    ("steps", "status"), [(-3, 200), (-2, 200), (-1, 302), (0, 302), (1, 302), (2, 200), (3, 200)]
)
def test_a_clock_may_be_off_by_one_step(
    staff: User, app: Authenticator, clock: Clock, steps: int, status: int
) -> None:
    client = Client()
    log_in(client, staff)
    assert give(client, clock.code(app, steps)) == status


@pytest.mark.parametrize("replayed", [-1, 0])
def test_a_code_ends_those_of_earlier_steps_too(
    staff: User, app: Authenticator, clock: Clock, replayed: int
) -> None:
    first, second = Client(), Client()
    log_in(first, staff)
    assert give(first, clock.code(app)) == 302
    log_in(second, staff)
    assert give(second, clock.code(app, replayed)) == 200
    end_pause(staff)
    assert give(second, clock.code(app, 1)) == 302


def test_of_guesses_at_once_one_is_judged(
    staff: User, app: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From as many browsers: the others meet the pause that the first has caused, right or not."""
    monkeypatch.setattr(TOTPDevice, "get_throttle_factor", lambda self: 3_600)
    browsers = [Client() for _ in range(8)]
    for browser in browsers:
        log_in(browser, staff)
    wrong = app.wrong_code()

    def guess(browser: Client) -> int:
        try:
            return give(browser, wrong)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(browsers)) as threads:
        assert set(threads.map(guess, browsers)) == {200}
    assert TOTPDevice.objects.get().throttling_failure_count == 1
    assert give(browsers[0], app.code(1)) == 200


def test_each_step_has_a_session_of_its_own(staff: User, app: Authenticator) -> None:
    """Who has given a browser its session knows none that is logged in."""
    client = Client()
    client.get("/account/totp/")
    planted = client.session.session_key or "planted0" * 4
    client.cookies["sessionid"] = planted
    log_in(client, staff)
    pending = client.cookies["sessionid"].value
    assert give(client, app.code(1)) == 302
    logged_in = client.cookies["sessionid"].value
    assert len({planted, pending, logged_in}) == 3
    for old in (planted, pending):
        other = Client()
        other.cookies["sessionid"] = old
        assert username(other) is None
        assert other.get("/login/code/")["Location"] == "/login/"


def test_half_a_login_opens_nothing(staff: User, app: Authenticator) -> None:
    client = Client()
    log_in(client, staff)
    for method, paths in _PATHS.items():
        for path in paths:
            answer = client.generic(method, path)
            assert answer.status_code == 302, path
            assert "/login/" in answer["Location"], path
    for path in _REST:
        assert client.get(path).status_code == 401, path
    made = client.post("/api/keys", {"name": "x"}, content_type="application/json")
    assert made.status_code == 401
    assert not APIKey.objects.exists()
    password = {"old_password": PASSWORD, "new_password": "another-one-8"}
    changed = client.post("/api/me/password", password, content_type="application/json")
    assert changed.status_code == 401
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    scope = {"headers": [(b"cookie", cookie)], "subprotocols": []}
    assert async_to_sync(identify_websocket)(scope) is None
    # Nor a request that names another user beside it.
    assert (
        client.post("/login/code/?user=1", {"code": app.wrong_code(), "user": 1}).status_code == 200
    )


def test_an_authenticator_is_not_taken_away_by_guessing(
    staff: User, app: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one who has come to a session of its owner's."""
    monkeypatch.setattr(TOTPDevice, "get_throttle_factor", lambda self: 3_600)
    client = Client()
    log_in(client, staff)
    assert give(client, app.code(1)) == 302
    wrong, right = app.wrong_code(), app.recovery_codes[0]
    for code in (wrong, right):
        client.post("/account/totp/", {"action": "remove", "code": code})
        assert TOTPDevice.objects.exists()
    assert TOTPDevice.objects.get().throttling_failure_count == 1
