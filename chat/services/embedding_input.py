"""The input of a request for embeddings: a text, texts, tokens or lists of tokens."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from django.conf import settings
from pydantic import BeforeValidator, JsonValue

from chat.llm.embeddings import count_inputs
from chat.vectors import FLOAT_BYTES

_FORMS = "must be a text, a list of texts, a list of tokens, or a list of lists of tokens"
MAX_TOKEN = 2**31 - 1


def _check_input(given: object) -> object:
    """Return the input as it is. Raises ValueError.

    Not by pydantic's types: of 300,000 tokens it would take ten times as long, and name four
    fields for one mistake.
    """
    if not isinstance(given, str | list):
        raise ValueError(_FORMS)  # noqa: TRY004 - pydantic takes ValueError
    if not given:
        raise ValueError("must not be empty")
    if isinstance(given, list):
        _check_list(given)
    if count_inputs(given) > settings.EMBEDDINGS_MAX_INPUTS:
        raise ValueError(f"has more than {settings.EMBEDDINGS_MAX_INPUTS} inputs")
    if len(msgspec.json.encode(given)) > settings.EMBEDDINGS_MAX_INPUT_BYTES:
        raise ValueError(f"has more than {settings.EMBEDDINGS_MAX_INPUT_BYTES} bytes of JSON")
    return given


def _check_list(given: list[object]) -> None:
    kinds = set(map(type, given))
    if kinds == {int}:
        _check_tokens(given)
    elif kinds == {str}:
        if "" in given:
            raise ValueError(f"has an empty text: {given.index('')}")
    elif kinds == {list}:
        for position, tokens in enumerate(given):
            if not tokens:
                raise ValueError(f"has an empty list of tokens: {position}")
            _check_tokens(tokens)
    else:
        raise ValueError(_FORMS)


def _check_tokens(tokens: Any) -> None:
    if set(map(type, tokens)) != {int}:
        raise ValueError(_FORMS)
    if min(tokens) < 0 or max(tokens) > MAX_TOKEN:
        raise ValueError(f"has a token that is not from 0 to {MAX_TOKEN}")


EmbeddingInput = Annotated[JsonValue, BeforeValidator(_check_input)]


def check_result_size(given: object, dimensions: int) -> None:
    """Raise ValueError if the vectors would be larger than what is stored."""
    limit = settings.EMBEDDINGS_MAX_RESULT_BYTES
    if count_inputs(given) * dimensions * FLOAT_BYTES > limit:
        most = limit // (dimensions * FLOAT_BYTES)
        raise ValueError(
            f"{count_inputs(given)} vectors of {dimensions} numbers have more than {limit} bytes: "
            f"send at most {most} inputs at once, or ask for fewer dimensions"
        )
