"""An authenticator app, and the ways through the pages that ask for its codes."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import dataclass

from django.test import Client
from django_otp.oath import TOTP

from accounts.models import TOTPDevice, User

PASSWORD = "backstage-5"


@dataclass
class Authenticator:
    secret: str
    recovery_codes: list[str]

    def code(self, steps_ahead: int = 0) -> str:
        """Of now, or of a step of 30 s later: a clock that is fast."""
        totp = TOTP(base64.b32decode(self.secret), drift=steps_ahead)
        return f"{totp.token():06}"

    def wrong_code(self) -> str:
        near = {self.code(steps) for steps in range(-2, 4)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in near)


def shown_secret(page: str) -> str:
    match = re.search(r'id="secret">([A-Z2-7 ]+)<', page)
    assert match is not None
    return match[1].replace(" ", "")


def set_up(client: Client, password: str = PASSWORD) -> Authenticator:
    """Enrol whoever is logged in, by the page."""
    app = Authenticator(shown_secret(client.get("/account/totp/").content.decode()), [])
    form = {"code": app.code(), "password": password}
    page = client.post("/account/totp/", form).content.decode()
    app.recovery_codes = re.findall(r"<li><code>([A-Z2-7-]+)</code>", page)
    assert app.recovery_codes
    return app


def log_in(client: Client, user: User, path: str = "/login/", password: str = PASSWORD) -> str:
    """The first step. Returns where it leads."""
    form = {"username": user.username, "password": password}
    response = client.post(path, form)
    assert response.status_code == 302
    return str(response["Location"])


def give(client: Client, code: str) -> int:
    """The second step. Returns the status: 302 leads in, 200 asks again."""
    return client.post("/login/code/", {"code": code}).status_code


def username(client: Client) -> str | None:
    """Who REST takes this session for."""
    response = client.get("/api/me")
    return str(response.json()["username"]) if response.status_code == 200 else None


def end_pause(user: User) -> None:
    """As if the time to wait after wrong codes were over."""
    TOTPDevice.objects.filter(user=user).update(throttling_failure_timestamp=None)


def wait_for_the_next_code(user: User) -> None:
    """As if a step had passed since the last code that was taken."""
    TOTPDevice.objects.filter(user=user).update(last_step=int(time.time()) // 30 - 2)
