"""A provider's list of models, in the forms that vendors have."""

from __future__ import annotations

import asyncio

import pytest

from chat.llm.errors import InvalidResponseError
from chat.llm.listing import list_models
from chat.llm.types import Upstream
from tests.chat.llm.recorder import running_recorder


async def _list(content: bytes) -> list[str]:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    async with running_recorder() as recorder:
        recorder.response = head % len(content) + content
        return await asyncio.to_thread(list_models, Upstream(recorder.url, None, "vendor"))


@pytest.mark.parametrize(
    "content",
    [
        b'{"object": "list", "data": [{"id": "a", "created": "x"}, {"id": "b"}]}',
        b'[{"id": "a"}, {"id": "b"}]',
        b'{"models": [{"name": "a"}, {"name": "b"}]}',
        b'{"data": [{"id": "models/a"}, {"id": "models/b"}, {"id": 7}, null]}',
    ],
)
async def test_the_names_are_found(content: bytes) -> None:
    assert await _list(content) == ["a", "b"]


@pytest.mark.parametrize("content", [b"{}", b'{"data": "a"}', b"7", b"<html>", b"[" * 5000])
async def test_what_is_no_list_is_an_error(content: bytes) -> None:
    with pytest.raises(InvalidResponseError, match="the list of models is none"):
        await _list(content)
