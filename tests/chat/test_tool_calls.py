"""Tool calls and their results: what belongs together, without a database."""

from __future__ import annotations

import pytest

from chat.tool_calls import PromptMessage, UnpairedError, check_pairs, from_result, ids_of

USER: PromptMessage = {"role": "user", "content": "How is it?"}


def calling(*ids: str) -> PromptMessage:
    calls = [from_result({"id": call_id, "name": "weather"}) for call_id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call_id: str) -> PromptMessage:
    return {"role": "tool", "tool_call_id": call_id, "content": "Sunny"}


def test_a_call_goes_back_in_the_providers_form_whatever_it_lacks() -> None:
    assert from_result({}) == {
        "id": "",
        "type": "function",
        "function": {"name": "", "arguments": "{}"},
    }
    assert ids_of(calling("a", "b")) == ["a", "b"]
    assert ids_of(USER) == []


@pytest.mark.parametrize(
    ("messages", "awaited"),
    [
        ([USER], []),
        ([USER, calling("a"), result("a"), USER], []),
        ([calling("a", "b"), result("b"), result("a")], []),
        ([calling("a", "a"), result("a"), result("a")], []),
        ([result("a"), USER], ["a"]),
    ],
)
def test_calls_with_their_results(messages: list[PromptMessage], awaited: list[str]) -> None:
    check_pairs(messages, awaited)


@pytest.mark.parametrize(
    ("messages", "awaited", "index", "field"),
    [
        ([USER, result("a")], [], 1, "tool_call_id"),
        ([calling("a"), USER], [], 0, "tool_calls"),
        ([calling("a"), result("b")], [], 1, "tool_call_id"),
        ([calling("a"), result("a"), result("a")], [], 2, "tool_call_id"),
        ([calling("a", "b"), result("a")], [], 0, "tool_calls"),
        ([USER], ["a"], None, "tool_calls"),
    ],
)
def test_a_call_or_result_alone_is_named(
    messages: list[PromptMessage], awaited: list[str], index: int | None, field: str
) -> None:
    with pytest.raises(UnpairedError) as error:
        check_pairs(messages, awaited)
    assert (error.value.index, error.value.field) == (index, field)
