"""Requests on the event loop: which of their steps take a thread."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.checks import CheckMessage
from django.core.checks.registry import registry
from django.db import connections
from django.test import override_settings
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes
from aily.web.middleware import OnLoop
from chat.models import LLMModel
from tests.communicators import HttpCommunicator

HOST = (b"host", b"127.0.0.1")


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Django and its like run on a thread from now on."""
    seen: list[str] = []
    call = SyncToAsync.__call__

    async def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(getattr(self.func, "__qualname__", repr(self.func)))
        return await call(self, *args, **kwargs)

    monkeypatch.setattr(SyncToAsync, "__call__", noted)
    return seen


async def ask(method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> Any:
    communicator = HttpCommunicator(routes, method, path, body, [HOST, *headers])
    answer = await communicator.get_response(10)
    await communicator.wait()
    return answer


async def test_a_request_with_a_key_takes_no_thread_of_djangos_but_to_close_its_response(
    alice: User, model: LLMModel, loop_services: None, hops: list[str]
) -> None:
    _, secret = await in_database(APIKey.create, alice, "test")
    sent = [
        (b"authorization", f"Bearer {secret}".encode()),
        (b"content-type", b"application/json"),
    ]
    body = b'{"messages": [{"role": "user", "content": "Hi"}]}'
    # With a parameter of this form it does not go past Django.
    answer = await ask("POST", "/api/llmchat/request?sync=0", sent, body)
    headers = dict(answer["headers"])
    assert answer["status"] == 202
    assert headers[b"X-Frame-Options"] == b"DENY"
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert b"default-src" in headers[b"Content-Security-Policy"]
    # Django's test client, used before, leaves a receiver of request_started behind.
    assert [hop for hop in hops if "asend" not in hop] == ["HttpResponseBase.close"]


async def test_the_language_of_a_page_is_found_without_a_thread(
    transactional_db: None, hops: list[str]
) -> None:
    answer = await ask("GET", "/login/", [(b"accept-language", b"zh-CN")])
    assert dict(answer["headers"])[b"Content-Language"] == b"zh-hans"
    assert not [hop for hop in hops if "Locale" in hop]
    await sync_to_async(connections.close_all)()


async def test_a_log_in_is_stored_and_a_form_without_its_token_refused(
    alice: User, loop_services: None
) -> None:
    await in_database(alice.set_password, "a long passphrase")
    await in_database(alice.save)
    page = await ask("GET", "/login/", [])
    token = cookies_of(page)["csrftoken"].value
    form = f"username={alice.username}&password=a+long+passphrase"
    sent = [
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"cookie", f"csrftoken={token}".encode()),
    ]
    refused = await ask("POST", "/login/", sent, form.encode())
    assert refused["status"] == 403
    entered = await ask("POST", "/login/", sent, f"{form}&csrfmiddlewaretoken={token}".encode())
    assert entered["status"] == 302
    session_key = cookies_of(entered)["sessionid"].value
    assert await in_database(Session.objects.filter(pk=session_key).exists)
    await sync_to_async(connections.close_all)()


def cookies_of(answer: Any) -> SimpleCookie:
    found = SimpleCookie()
    for name, value in answer["headers"]:
        if name.lower() == b"set-cookie":
            found.load(value.decode())
    return found


def test_djangos_own_classes_are_left_alone() -> None:
    for path in settings.MIDDLEWARE:
        middleware = import_string(path)
        if isinstance(middleware, type) and issubclass(middleware, OnLoop):
            base: Any = middleware.__bases__[-1]
            assert base.__acall__ is MiddlewareMixin.__acall__
            assert base.__call__ is MiddlewareMixin.__call__


def deployment_warnings(**changed: object) -> set[str]:
    """Ids of what `check --deploy` would say, and not silence, with these settings changed."""
    with override_settings(**changed):
        messages: list[CheckMessage] = registry.run_checks(
            tags=["security"], include_deployment_checks=True
        )
        return {str(message.id) for message in messages if not message.is_silenced()}


SAFE = {
    "DEBUG": False,
    "SECURE_HSTS_SECONDS": 3600,
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
    "SECURE_HSTS_PRELOAD": True,
    "SECURE_SSL_REDIRECT": True,
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "ALLOWED_HOSTS": ["aily.example"],
    "SECRET_KEY": "x1y2z3" * 12,
}


@pytest.mark.parametrize(
    ("name", "value", "warnings"),
    [
        ("SECURE_HSTS_SECONDS", 0, {"security.W004"}),
        ("SECURE_CONTENT_TYPE_NOSNIFF", False, {"security.W006"}),
        ("CSRF_COOKIE_SECURE", False, {"security.W016"}),
        ("SESSION_COOKIE_SECURE", False, {"security.W010", "security.W012"}),
        ("X_FRAME_OPTIONS", "SAMEORIGIN", {"security.W019"}),
    ],
)
def test_deployment_checks_look_through_the_subclasses(
    name: str, value: object, warnings: set[str]
) -> None:
    assert deployment_warnings(**SAFE) == set()
    assert deployment_warnings(**{**SAFE, name: value}) & warnings


@pytest.mark.parametrize(
    "name", ["SecurityMiddleware", "XFrameOptionsMiddleware", "CsrfViewMiddleware"]
)
def test_the_middlewares_whose_lack_is_silenced_are_there(name: str) -> None:
    """security.W001 to W003."""
    assert f"aily.web.middleware.{name}" in settings.MIDDLEWARE
