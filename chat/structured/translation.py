"""Translates the format of an answer into request fields that the provider supports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chat.models.provider_fields import StructuredOutput
from chat.structured.formats import OutputFormat
from chat.structured.repair import Repair, repair_turn

_Message = dict[str, Any]
_INSTRUCTING = ("system", "developer")
#: DeepSeek's JSON mode asks for the word "json" in the prompt, OpenAI's as well.
_INSTRUCTIONS = (
    "Answer with JSON that conforms to this JSON Schema, and with nothing else: no explanation "
    "before or after it, no code fence.\n\n"
)
#: Bytes that a translation adds to a prompt beside the schema.
INSTRUCTIONS_BYTES = len(_INSTRUCTIONS)


class Translated(NamedTuple):
    messages: list[_Message]
    response_format: Mapping[str, Any] | None


def translate(
    output: OutputFormat,
    mode: StructuredOutput,
    messages: Sequence[_Message],
    repair: Repair | None,
) -> Translated:
    """The messages to send, and the `response_format`, None for none.

    A model that did not keep to the schema by itself also gets it in the prompt: providers may
    ignore a `response_format`.
    """
    sent = list(messages)
    if mode is not StructuredOutput.NATIVE or repair is not None:
        sent = _with_schema(sent, output.schema)
    if repair is not None:
        sent += repair_turn(repair)
    if mode is StructuredOutput.NATIVE:
        return Translated(sent, output.source)
    if mode is StructuredOutput.JSON_OBJECT and output.is_of_an_object:
        return Translated(sent, {"type": "json_object"})
    return Translated(sent, None)


def _with_schema(messages: list[_Message], schema: Mapping[str, Any]) -> list[_Message]:
    """At the end of the first instructions: what comes before a prompt's variable parts can be
    cached by the provider."""
    words = _INSTRUCTIONS + json.dumps(schema, ensure_ascii=False)
    first = messages[0] if messages else {}
    if first.get("role") not in _INSTRUCTING:
        return [{"role": "system", "content": words}, *messages]
    content = first.get("content")
    if isinstance(content, list):
        joined: object = [*content, {"type": "text", "text": words}]
    else:
        joined = f"{content}\n\n{words}" if content else words
    return [{**first, "content": joined}, *messages[1:]]
