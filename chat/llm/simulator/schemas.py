"""Answers to a JSON Schema: values that fit it, and those of a model that does not keep to it."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from chat.llm.simulator.config import JsonObject
from chat.llm.simulator.directives import Directives, parse_directives

#: Deeper values are made as small as the schema lets them be.
_DEEP = 5
#: A schema that leads deeper than this cannot be answered.
_TOO_DEEP = 40
#: What stands before a schema in a prompt, in small letters.
_MARK = "json schema"
_FORMATS = {
    "date": "2026-11-30",
    "date-time": "2026-11-30T12:00:00Z",
    "duration": "PT5M",
    "email": "somebody@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "0198c0de-9c33-7000-8000-0123456789ab",
}


def schema_of(body: JsonObject) -> JsonObject | None:
    """The schema that a request asks for: as `response_format`, or in words of its instructions."""
    response_format = body.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        return (response_format.get("json_schema") or {}).get("schema") or {}
    for message in body.get("messages") or []:
        content = message.get("content")
        if message.get("role") in ("system", "developer"):
            texts = content if isinstance(content, list) else [{"text": content}]
            for part in texts:
                found = _schema_in(str(part.get("text") or ""))
                if found is not None:
                    return found
    return None


def _schema_in(text: str) -> JsonObject | None:
    mark = text.lower().rfind(_MARK)
    start = text.find("{", mark)
    if mark < 0 or start < 0:
        return None
    try:
        schema, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return schema if isinstance(schema, dict) else None


def asked_before(body: JsonObject) -> Directives | None:
    """The directives of the question, where the last user message asks to repair its answer.

    Raises ValueError at a bad one.
    """
    users = [message for message in body.get("messages") or [] if message.get("role") == "user"]
    texts = [message["content"] for message in users if isinstance(message.get("content"), str)]
    if len(texts) < 2 or "does not fit" not in texts[-1]:
        return None
    return parse_directives(texts[-2])


def json_answer(schema: JsonObject, asked: Directives, rng: Random, *, is_repair: bool) -> str:
    """An answer to a schema: one that fits, or the one that is asked for in its place."""
    fitting = json.dumps(value_of(schema, rng), ensure_ascii=False, indent=2)
    misfit = json.dumps({"simulated": "what nobody asked for"})
    match asked.schema:
        case "never":
            return misfit
        case "second":
            return fitting if is_repair else misfit
        case "fenced":
            return f"```json\n{fitting}\n```"
        case "chatty":
            return f"Here is what you asked for:\n\n{fitting}\n\nIs there anything else?"
        case "prose":
            return "I would rather not write any JSON today."
    return fitting


def value_of(schema: Any, rng: Random) -> Any:
    """A value that fits a schema, for what is common in schemas. Raises ValueError where that would
    have no end."""
    return _Maker(schema if isinstance(schema, dict) else {}, rng).make(schema, 0)


class _Maker:
    def __init__(self, root: JsonObject, rng: Random) -> None:
        self._root = root
        self._rng = rng

    def make(self, schema: Any, depth: int) -> Any:
        if depth > _TOO_DEEP:
            raise ValueError("the schema has no end")
        if not isinstance(schema, dict):
            return None
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._rng.choice(schema["enum"])
        for keyword in ("anyOf", "oneOf"):
            if choices := schema.get(keyword):
                rest = {name: value for name, value in schema.items() if name != keyword}
                return self.make({**rest, **self._choice(choices, depth)}, depth + 1)
        return self._of_type(_type_of(schema), schema, depth)

    def _resolved(self, schema: JsonObject) -> JsonObject:
        """With what its `$ref` and `allOf` add."""
        for _ in range(_TOO_DEEP):
            if "$ref" not in schema:
                break
            rest = {name: value for name, value in schema.items() if name != "$ref"}
            schema = {**self._target(str(schema["$ref"])), **rest}
        for part in schema.get("allOf") or []:
            merged = {**self._resolved(part), **schema}
            for name in ("properties", "required"):
                merged[name] = _joined(self._resolved(part).get(name), schema.get(name))
            schema = {name: value for name, value in merged.items() if value is not None}
        return {name: value for name, value in schema.items() if name != "allOf"}

    def _target(self, reference: str) -> JsonObject:
        found: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name, {}) if name and isinstance(found, dict) else found
        return found if isinstance(found, dict) else {}

    def _choice(self, choices: list[Any], depth: int) -> JsonObject:
        """Any of the alternatives; of a deep value one that goes no deeper."""
        options = [self._resolved(choice) for choice in choices if isinstance(choice, dict)]
        flat = [option for option in options if _type_of(option) not in ("object", "array")]
        return self._rng.choice(flat if flat and depth > _DEEP else options or [{}])

    def _of_type(self, kind: str, schema: JsonObject, depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number":
                return self._number(kind, schema)
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
        return self._text(schema)

    def _object(self, schema: JsonObject, depth: int) -> JsonObject:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        names = [name for name in properties if depth <= _DEEP or name in required]
        names += [name for name in required if name not in properties]
        return {name: self.make(properties.get(name, {}), depth + 1) for name in names}

    def _array(self, schema: JsonObject, depth: int) -> list[Any]:
        low = schema.get("minItems", 0)
        high = min(schema.get("maxItems", low + 2), low + 2)
        count = low if depth > _DEEP else self._rng.randint(low, max(low, high))
        items = [self.make(item, depth + 1) for item in (schema.get("prefixItems") or [])[:count]]
        while len(items) < count:
            items.append(self.make(schema.get("items", {}), depth + 1))
        return items

    def _number(self, kind: str, schema: JsonObject) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 10) - 1)
        whole = self._rng.randint(int(low), max(int(low), int(high)))
        if step := schema.get("multipleOf"):
            multiple: float = step * -(-whole // step)
            return multiple
        return whole if kind == "integer" or whole + 0.5 > high else whole + 0.5

    def _text(self, schema: JsonObject) -> str:
        text = _FORMATS.get(str(schema.get("format")), self._rng.choice(("simulated", "Füße 漢字")))
        text = text.ljust(schema.get("minLength", 0), "x")
        return text[: schema.get("maxLength", len(text))]


def _type_of(schema: JsonObject) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        return {**first, **second}
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *(item for item in second if item not in first)]
    return second if first is None else first
