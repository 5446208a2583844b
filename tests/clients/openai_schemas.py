"""OpenAI's own schemas of what its API answers (openai_schemas.json, openai_schemas.LICENSE)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

_DOCUMENT = Path(__file__).with_name("openai_schemas.json")


@cache
def _definitions() -> Any:
    return json.loads(_DOCUMENT.read_text())["$defs"]


@cache
def _validator(name: str) -> Draft202012Validator:
    definitions = _definitions()
    assert name in definitions, f"no such schema: {name}"
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})


def check(name: str, value: object) -> None:
    """Raise AssertionError, naming each deviation, unless `value` fits OpenAI's schema `name`.

    For example CreateChatCompletionResponse, CreateChatCompletionStreamResponse, ErrorResponse,
    ListModelsResponse, Response, ResponseStreamEvent, CreateEmbeddingResponse, Batch.
    """
    errors = [
        f"{'.'.join(map(str, error.absolute_path)) or name}: {error.message}"
        for error in _validator(name).iter_errors(value)
    ]
    assert not errors, "\n".join(errors)
