"""Alice as a client of `/v1/responses`, with a worker of the simulated provider."""

from __future__ import annotations

import httpx
import pytest

from chat.models import LLMModel
from chat.runner.runtime import Runtime
from tests.chat.openai.responses.client import ResponsesClient


@pytest.fixture
def plain_model(model: LLMModel) -> LLMModel:
    """A model that answers without reasoning."""
    params = {"thinking": {"type": "disabled"}}
    return LLMModel.objects.create(provider=model.provider, name="plain", params=params)


@pytest.fixture
def responses(
    alice_v1: httpx.AsyncClient, plain_model: LLMModel, worker: Runtime
) -> ResponsesClient:
    return ResponsesClient(alice_v1)
