"""Reads the text of an OpenAPI document: JSON, or YAML as far as that is JSON. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

from chat.reasons import Reason
from chat.tools.openapi_operations import DocumentError

#: Reading YAML takes some 100 times as long as JSON.
MAX_YAML_BYTES = 2 * 1024 * 1024
_MAX_DEPTH = 100
_FLOAT = r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"


class _Loader(yaml.CSafeLoader):
    """The types of JSON alone: `on` and dates are texts."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as its base class has it


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), [*_first])


def read_document(content: bytes) -> Any:
    """What a text of JSON or YAML says. Raises DocumentError."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if content.lstrip()[:1] in (b"{", b"["):
            raise DocumentError(Reason.of("document_no_json")) from None
    if len(content) > MAX_YAML_BYTES:
        raise DocumentError(Reason.of("document_too_long", limit=MAX_YAML_BYTES))
    try:
        _refuse_aliases(content)
        return _as_json(yaml.load(content, _Loader), 0)  # noqa: S506 - a safe loader, with less
    except yaml.YAMLError as error:
        raise DocumentError(_unreadable(error)) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError(Reason.of("document_unreadable")) from None


def _refuse_aliases(content: bytes) -> None:
    """Raises DocumentError: some lines of aliases stand for gigabytes."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, _Loader)):
        raise DocumentError(Reason.of("document_aliases"))


def _unreadable(error: yaml.YAMLError) -> Reason:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return Reason.of("document_unreadable")
    return Reason.of("document_unreadable_line", line=mark.line + 1)


def _as_json(value: Any, depth: int) -> Any:
    """The value with the names of objects as texts: those of responses are numbers. Raises
    DocumentError."""
    if depth > _MAX_DEPTH:
        raise DocumentError(Reason.of("document_too_deep"))
    if isinstance(value, dict):
        return {_name(name): _as_json(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item, depth + 1) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise DocumentError(Reason.of("document_value", type=type(value).__name__))


def _name(name: Any) -> str:
    if isinstance(name, bool) or name is None:
        return msgspec.json.encode(name).decode()
    if isinstance(name, str | int | float):
        return str(name)
    raise DocumentError(Reason.of("document_name"))
