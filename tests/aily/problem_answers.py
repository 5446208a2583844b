"""Answers of REST that are problems."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponse
from django.test import RequestFactory
from ninja import NinjaAPI

from aily.rest.api import build_api


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(response.content)
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"urn:aily:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    return problem


def answer_to(error: Exception) -> HttpResponse:
    api: NinjaAPI = build_api({}, auth=[])
    return api.on_exception(RequestFactory().get("/api/x"), error)
