"""What vendors send is understood as they mean it, however the network cuts it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from chat.llm.client import ProviderClient
from chat.llm.errors import ProviderError
from chat.llm.types import ChatRequest, Delta, TimeLimits, Upstream
from tests.providers import vendors
from tests.providers.playing import (
    Answered,
    Case,
    Failed,
    in_bytes,
    in_chunks,
    split_at_random,
    vendor,
    with_length,
)

LIMITS = TimeLimits(first_token_seconds=10, between_tokens_seconds=10, total_seconds=20)
KEY = "sk-0123456789abcdef"


@pytest_asyncio.fixture
async def client() -> AsyncIterator[ProviderClient]:
    async with ProviderClient() as client:
        yield client


def _cases() -> Iterator[object]:
    for module in pkgutil.iter_modules(vendors.__path__):
        cases: list[Case] = importlib.import_module(f"{vendors.__name__}.{module.name}").CASES
        assert len({case.name for case in cases}) == len(cases), f"{module.name}: a name twice"
        for number, case in enumerate(cases):
            # Byte by byte is slow: one case of each vendor has to do.
            yield pytest.param(case, number == 0, id=f"{module.name}: {case.name}")


@pytest.mark.parametrize(("case", "is_in_bytes"), list(_cases()))
async def test_a_vendor_is_understood(
    client: ProviderClient, case: Case, is_in_bytes: bool
) -> None:
    response = case.response
    sent = [with_length(response), in_chunks(response), split_at_random(response, case.name)]
    if is_in_bytes:
        sent.append(in_bytes(response))
    async with vendor(sent) as url:
        for _ in sent:
            if isinstance(case, Answered):
                await _check_answer(client, url, case)
            else:
                await _check_failure(client, url, case)


async def _check_answer(client: ProviderClient, url: str, case: Answered) -> None:
    deltas: list[Delta] = []
    completion = await client.ask(_upstream(url), _request(), LIMITS, deltas.append)
    assert "".join(delta.text for delta in deltas) == case.text
    assert "".join(delta.reasoning for delta in deltas) == case.reasoning
    assert completion.finish_reason == case.finish_reason
    assert completion.tool_calls == case.tool_calls
    assert all(call.id for call in completion.tool_calls)
    if case.usage is not None:
        assert completion.usage == case.usage


async def _check_failure(client: ProviderClient, url: str, case: Failed) -> None:
    with pytest.raises(ProviderError) as raised:
        await client.ask(_upstream(url), _request(), LIMITS, lambda _: None)
    error = raised.value
    assert (error.code, error.retryable) == (case.code, case.retryable)
    assert case.words in error.message
    assert KEY not in error.message
    assert error.retry_after_seconds == case.retry_after_seconds


def _upstream(url: str) -> Upstream:
    return Upstream(base_url=url, api_key=KEY, provider="vendor")


def _request() -> ChatRequest:
    return ChatRequest("m", [{"role": "user", "content": "hi"}])
