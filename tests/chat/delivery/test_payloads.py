"""The body of a webhook stays within its limit, whatever the task holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.models import User
from chat.delivery.payloads import MAX_BODY_BYTES, body_of
from chat.models import Delivery, LLMModel
from tests.chat.delivery.conftest import end_task, make_endpoint


def webhook_of(alice: User, model: LLMModel, **fields: Any) -> tuple[dict[str, Any], int]:
    """What is said of a task with these fields, and its bytes."""
    make_endpoint(alice, "https://hooks.example/")
    end_task(alice, model, **fields)
    body = body_of(Delivery.objects.get())
    return json.loads(body)["data"], len(body.encode())


@pytest.mark.parametrize("text", ["ä" * 30_000, '"\n\\' * 20_000, "𝄞" * 9_000, "x" * 100_000])
def test_a_long_text_is_cut_to_fit(alice: User, model: LLMModel, text: str) -> None:
    data, size = webhook_of(alice, model, text=text, finish_reason="stop")
    assert MAX_BODY_BYTES - 20 < size <= MAX_BODY_BYTES
    assert data["is_truncated"] is True
    assert text.startswith(data["result"]["text"])


def test_a_text_that_fits_is_whole(alice: User, model: LLMModel) -> None:
    text = "x" * (MAX_BODY_BYTES - 500)
    data, size = webhook_of(alice, model, text=text, finish_reason="stop")
    assert (data["result"]["text"], data["is_truncated"]) == (text, False)
    assert size <= MAX_BODY_BYTES


def test_large_metadata_is_left_out(alice: User, model: LLMModel) -> None:
    data, size = webhook_of(alice, model, text="short", metadata={"x": "y" * 30_000})
    assert size <= MAX_BODY_BYTES
    assert (data["metadata"], data["is_truncated"]) == (None, True)
