"""The OpenAPI document is made once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import AsyncClient, RequestFactory
from ninja import NinjaAPI

from aily.rest.document import Document
from aily.urls import api


async def test_the_openapi_document_is_made_once_however_many_ask_at_once(
    monkeypatch: pytest.MonkeyPatch, async_client: AsyncClient
) -> None:
    made: list[object] = []

    def counted(self: Any, **options: Any) -> Any:
        made.append(self)
        return get_schema(self, **options)

    get_schema = NinjaAPI.get_openapi_schema
    monkeypatch.setattr(NinjaAPI, "get_openapi_schema", counted)
    document, path = Document(api), "/api/openapi.json"
    request = RequestFactory().get(path)
    answers = await asyncio.gather(*(document.view(request) for _ in range(20)))
    assert len(made) == 1
    [content] = {answer.content for answer in answers}
    served = await async_client.get(path)
    assert served.content == content
    again = await async_client.get(path, headers={"If-None-Match": served["ETag"]})
    assert again.status_code == 304
