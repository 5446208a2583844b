"""Refusals of templates, schemas and variables have a name and parameters, for other languages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from accounts.models import User
from chat.exceptions import InvalidTemplate, InvalidVariable, RefusedInput
from chat.reasons import SENTENCES
from chat.rendering.pool import RenderingPool
from chat.rendering.prompt import Prompt, PromptSource
from tests.catalogues import ROOT
from tests.chat.rendering.conftest import Publish, SubmitVariables
from tests.chat.rendering.pools import ALICE, limits
from tests.conftest import ClientOf

ANY: dict[str, Any] = {"type": "object"}


def refused(
    template: str = "{{ x }}", schema: Any = ANY, variables: Any = None
) -> tuple[str, dict[str, object]]:
    """Reason and parameters of compiling, or of rendering `variables`."""
    with pytest.raises(RefusedInput) as caught:
        Prompt(PromptSource("", template, schema)).render(variables or {}, limits())
    details = caught.value.details()
    assert caught.value.message == SENTENCES[str(details["reason"])] % details["params"]
    return str(details["reason"]), dict(details["params"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("template", "reason", "params"),
    [
        ("{{ x|shout }}", "unknown_filter", {"line": "1", "name": "'shout'"}),
        ("{{ x is loud }}", "unknown_test", {"line": "1", "name": "'loud'"}),
        ("\n{% while x %}", "unknown_tag", {"line": "2", "name": "'while'"}),
        ("{% if x %}", "template_ends", {"line": "1"}),
        ("{{ x y }}", "expected_token", None), ("{{ x", "template_ends", None),
        ("{{ x ? }}", "unexpected_token", {"line": "1", "found": "'?'"}),
        ("{{ }}", "template_syntax", None),
        ("{% macro m() %}{% endmacro %}", "unavailable_tag", {"line": "1", "name": "Macro"}),
        ("{{ __x }}", "reserved_name", {"line": "1", "name": "__x"}),
        ("{% for i in x %}{{ loop }}{% endfor %}", "loop_name", None),
        ("x" * 65_537, "template_too_long", {"limit": "65536"}),
        ("{{ x }}", "undefined_variable", {"name": "'x'"}),
        ("{{ 'a'.b.c }}", "undefined_part", None),
        ("{% for i in range(999) %}" * 2 + "{% endfor %}" * 2, "too_many_loop_steps", None),
        ("{{ 1 / 0 }}", "variables_unusable", None),
        ("{% if x is defined %}x{% endif %}", "prompt_empty", {}),
    ],
)  # fmt: skip
def test_a_template_is_refused_with_a_reason(
    template: str, reason: str, params: dict[str, str] | None
) -> None:
    found = refused(template)
    assert found[0] == reason
    if params is not None:
        assert found[1].items() >= params.items()


@pytest.mark.parametrize(
    ("schema", "value", "reason", "params"),
    [
        ({"type": "integer"}, "a", "wrong_type", {"value": '"a"', "type": '"integer"'}),
        ({"enum": ["a", 1]}, None, "no_choice", {"value": "null", "choices": '["a", 1]'}),
        ({"const": "a"}, "b", "not_constant", {"choices": '"a"'}),
        ({"minimum": 3}, 2, "below", {"value": "2", "limit": "3"}),
        ({"exclusiveMaximum": 3}, 3, "not_below", {"limit": "3"}),
        ({"maxLength": 2}, "字字字", "too_long", {"value": '"字字字"', "count": "2"}),
        ({"pattern": "^a"}, "b", "no_match", {"pattern": '"^a"'}),
        ({"minItems": 1}, [], "too_few", {"value": "[]", "count": "1"}),
        ({"uniqueItems": True}, [1, 1], "not_unique", {"value": "[1, 1]"}),
        ({"required": ["a", "b"]}, {"a": 1}, "missing", {"name": "'b'"}),
        ({"additionalProperties": False}, {"a": 1}, "unknown", {"name": "'a'"}),
        ({"not": {}}, 1, "schema_mismatch", None),
    ],
)
def test_a_variable_is_refused_with_a_reason(
    schema: Any, value: Any, reason: str, params: dict[str, str] | None
) -> None:
    found = refused(schema={**ANY, "properties": {"x": schema}}, variables={"x": value})
    assert found[0] == reason
    if params is not None:
        assert found[1].items() >= params.items()


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "array"}, "not_object_schema"),
        ({"properties": {"x": {"type": "strng"}}}, "schema_invalid"),
        ({"properties": {"x": {"$ref": "#/$defs/no"}}}, "dead_ref"),
        ({"properties": {"x": {"$ref": "https://x.example"}}}, "foreign_ref"),
        ({"properties": {"x": {"pattern": "(?=a)"}}}, "pattern_unusable"),
        ({"additionalProperties": False}, "unlisted_names"),
    ],
)
def test_a_schema_is_refused_with_a_reason(schema: Any, reason: str) -> None:
    assert refused(schema=schema, variables={"x": "1"})[0] == reason


@pytest.mark.parametrize(
    ("template", "kind", "reason"),
    [("{{ x|shout }}", InvalidTemplate, "unknown_filter"),
     ("{{ x }}", InvalidVariable, "undefined_variable")],
)  # fmt: skip
def test_a_reason_comes_back_from_a_rendering_process(
    template: str, kind: type[RefusedInput], reason: str
) -> None:
    pool = RenderingPool(1, 1)
    source = PromptSource("", template, ANY)
    with pytest.raises(kind) as caught:
        pool.submit(ALICE, source, {}, limits(5)).result()
    assert caught.value.details()["reason"] == reason


def test_errors_of_rest_have_reason_and_parameters(
    publish: Publish, submit_variables: SubmitVariables, staff: User, client_of: ClientOf
) -> None:
    refusal = publish("{{ x|shout }}").json()
    assert (refusal["reason"], refusal["params"]["name"]) == ("unknown_filter", "'shout'")
    publish("{{ x }}")
    refusal = submit_variables({}).json()
    assert (refusal["reason"], refusal["params"]) == ("missing", {"name": "'x'"})
    path, json = "/api/scenes/odd/preview", "application/json"
    preview = client_of(staff).post(path, {"user_template": "{{ x }}"}, json).json()
    assert preview["refusal"]["reason"] == "missing"
    assert preview["refusal"]["params"] == {"name": "'x'"}


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_web_app_has_every_sentence_with_its_parameters(language: str) -> None:
    source = (ROOT / f"static/js/i18n/reasons/{language}.js").read_text()
    texts = dict(re.findall(r'"reason\.(\w+)":\s+"((?:[^"\\]|\\.)*)",', source))
    assert texts.keys() == SENTENCES.keys()
    for name, sentence in SENTENCES.items():
        expected = sorted(re.findall(r"%\((\w+)\)s", sentence))
        assert sorted(re.findall(r"{(\w+)}", texts[name])) == expected, name
