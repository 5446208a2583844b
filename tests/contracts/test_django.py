"""Private parts of Django that accounts uses. See docs/private-parts.md."""

from __future__ import annotations

import logging

import pytest
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.test import RequestFactory
from django.utils.log import log_response

from accounts.models import User


def test_a_new_password_is_in_the_object_until_it_is_saved(alice: User) -> None:
    assert getattr(alice, "_password", None) is None
    alice.set_password("a long passphrase")
    assert alice._password == "a long passphrase"  # type: ignore[attr-defined]
    alice.save()
    assert getattr(alice, "_password", None) is None


def test_a_response_marked_as_logged_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    response = HttpResponse(status=429)
    response._has_been_logged = True  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING, logger="django.request"):
        log_response("refused", response=response)
        assert not caplog.records
        log_response("refused", response=HttpResponse(status=429))
        assert caplog.records


def test_a_failed_csrf_check_calls_reject_with_its_reason() -> None:
    reasons: list[str] = []

    class Check(CsrfViewMiddleware):
        def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
            reasons.append(reason)
            return HttpResponse(status=403)

    check = Check(lambda request: HttpResponse())
    request = RequestFactory(enforce_csrf_checks=True).post("/")
    check.process_request(request)
    refused = check.process_view(request, HttpResponse, (), {})
    assert refused is not None
    assert len(reasons) == 1
    assert "CSRF" in reasons[0]
