"""JSON from outside: what is refused, and what stays as it is."""

from __future__ import annotations

import json

import pytest

from aily.problems import InvalidRequest
from aily.rest.json_input import MAX_DEPTH, decode_json


def test_json_is_decoded_as_it_stands() -> None:
    value = {"text": "é\\u0000 is no NUL 😀", "list": [1, 2.5, None, True]}
    assert decode_json(json.dumps(value)) == value
    assert decode_json(json.dumps(value).encode()) == value
    nested = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(decode_json(nested)) == nested
    with pytest.raises(InvalidRequest, match="nested"):
        decode_json(f"[{nested}]")


@pytest.mark.parametrize("data", ['{"a\\u0000": 1}', '[["\\u0000"]]', '{"a": {"b": "\\u0000"}}'])
def test_nul_is_found_wherever_it_is(data: str) -> None:
    with pytest.raises(InvalidRequest, match=r"U\+0000"):
        decode_json(data)


def test_many_numbers_are_not_looked_at_one_by_one() -> None:
    tokens = [[number] * 50 for number in range(200)]
    assert decode_json(json.dumps({"input": tokens})) == {"input": tokens}
    for bad in ("\0", float("nan")):
        with pytest.raises(InvalidRequest):
            decode_json(json.dumps({"input": [*tokens, [1, bad]]}))
