"""Refusals of templates and schemas have a name and parameters, for other languages."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from django.test import Client
from django.utils.translation import override

from accounts.models import User
from aily.problems import InvalidRequest, NotFound
from chat.admin.problems import translated
from chat.error_texts import error_text
from chat.exceptions import InvalidTemplate, InvalidVariable, because
from chat.reasons import SENTENCES, SUBJECTS, Reason, keywords
from chat.rendering.pool import RenderingPool
from chat.rendering.prompt import Prompt, PromptSource
from tests.catalogues import ROOT
from tests.chat.rendering.conftest import Publish, SubmitVariables
from tests.chat.rendering.pools import ALICE, limits
from tests.conftest import ClientOf

ANY: dict[str, Any] = {"type": "object"}


def refused(
    template: str = "{{ x }}", schema: Any = ANY, variables: Any = None
) -> tuple[str, dict[str, Any]]:
    """Rule and parameters of what compiling, or rendering `variables`, is refused for."""
    with pytest.raises(InvalidRequest) as caught:
        Prompt(PromptSource("", template, schema)).render(variables or {}, limits())
    params = caught.value.params
    rule = str(params["rule"])
    if rule not in keywords.SENTENCES:
        assert caught.value.message == SENTENCES[rule] % params
    return rule, params


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
        (
            "{% autoescape true %}{% endautoescape %}",
            "unavailable_tag",
            {"line": "1", "name": "Scope"},
        ),
        ("{{ __x }}", "reserved_name", {"line": "1", "name": "__x"}),
        ("{% for i in x %}{{ loop }}{% endfor %}", "loop_name", None),
        ("x" * 65_537, "template_too_long", {"limit": "65536"}),
        ("{{ x }}", "required", {}),
        ("{{ 'a'.b.c }}", "undefined_part", None),
        ("{% for i in range(999) %}" * 2 + "{% endfor %}" * 2, "too_many_loop_steps", None),
        ("{{ 1 / 0 }}", "variables_unusable", None),
        ("{% if x is defined %}x{% endif %}", "not_empty", {}),
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


_NODE = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
    "dependentRequired": {"next": ["n"]},
}
_PETS = [
    {"properties": {"kind": {"const": kind}, name: {"type": "integer"}}, "required": ["kind"]}
    for kind, name in (("cat", "lives"), ("dog", "age"))
]


@pytest.mark.parametrize(
    ("schema", "value", "field", "rule", "limit"),
    [
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "a", "", "type", "integer, null"),
        ({"anyOf": [{"maximum": 1}, {"type": "null"}]}, 5, "", "maximum", 1),
        ({"oneOf": [{"const": "a"}, {"enum": ["b", 1]}]}, "c", "", "enum", '"a", "b", 1'),
        ({"oneOf": _PETS}, {"kind": "dog", "age": "x"}, ".age", "type", "integer"),
        ({"oneOf": _PETS}, {"kind": "cow"}, "", "oneOf", None),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 3, "", "oneOf", None),
        ({"anyOf": [{"minimum": 9}, {"multipleOf": 2}]}, 3, "", "anyOf", None),
        ({"anyOf": [{"properties": {"a": {"enum": ["b", "c"]}}}, {"type": "null"}]}, {"a": "d"},
         ".a", "enum", "b, c"),
        ({"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}, {"next": {"n": "x"}},
         ".next.n", "type", "integer"),
        ({"$ref": "#/$defs/node"}, {"next": {}}, ".n", "required", None),
        ({"patternProperties": {"^a": {}}, "additionalProperties": False}, {"a": 1, "b": 1},
         ".b", "additionalProperties", None),
        ({"minProperties": 2}, {"a": 1}, "", "minProperties", 2),
        ({"contains": {"const": 1}, "minContains": 2}, [1], "", "contains", None),
        ({"prefixItems": [{}], "items": False}, [1, 2], "", "items", None),
        ({"not": {"type": "string"}}, "a", "", "not", None),
        ({"multipleOf": 0.01}, 0.005, "", "multipleOf", 0.01),
        ({"const": None}, 1, "", "const", "null"),
        ({"maximum": 2**63}, 2**63 + 1, "", "maximum", 2**63),
    ],
)  # fmt: skip
def test_a_value_is_refused_by_the_rule_that_is_meant(
    schema: Any, value: Any, field: str, rule: str, limit: Any
) -> None:
    whole: Any = {"properties": {"x": schema}, "$defs": {"node": _NODE}}
    with pytest.raises(InvalidVariable) as caught:
        Prompt(PromptSource("", "{{ x }}", whole)).render({"x": value}, limits())
    expected = {"rule": rule} if limit is None else {"rule": rule, "limit": limit}
    assert (caught.value.field, caught.value.params) == (f"variables.x{field}", expected)


@pytest.mark.parametrize("value", [0.07, 1.1, 4.35, 19.99, 3, 1e300])
def test_multiples_are_those_of_decimal_numbers(value: float) -> None:
    schema: Any = {"properties": {"x": {"multipleOf": 0.01}}}
    source = PromptSource("", "{{ x }}", schema)
    assert Prompt(source).render({"x": value}, limits())


@pytest.mark.parametrize(
    ("template", "kind", "reason"),
    [("{{ x|shout }}", InvalidTemplate, "unknown_filter"),
     ("{{ x }}", InvalidVariable, "required")],
)  # fmt: skip
def test_a_reason_comes_back_from_a_rendering_process(
    template: str, kind: type[InvalidRequest], reason: str
) -> None:
    pool = RenderingPool(1, 1)
    source = PromptSource("", template, ANY)
    with pytest.raises(kind) as caught:
        pool.submit(ALICE, source, {}, limits(5)).result()
    assert caught.value.params["rule"] == reason


def test_errors_of_rest_have_the_rule_and_its_parameters(
    publish: Publish, submit_variables: SubmitVariables, staff: User, client_of: ClientOf
) -> None:
    refusal = publish("{{ x|shout }}").json()
    assert refusal["params"] == {"rule": "unknown_filter", "line": "1", "name": "'shout'"}
    publish("{{ x }}")
    refusal = submit_variables({}).json()
    assert refusal["params"] == {"rule": "required"}
    path, json = "/api/scenes/odd/preview", "application/json"
    preview = client_of(staff).post(path, {"user_template": "{{ x }}"}, json).json()
    assert preview["refusal"]["params"] == {"rule": "required"}


def test_submits_are_refused_with_a_rule_and_its_text(publish: Publish, caller: Client) -> None:
    publish("ok")
    for path, field, value, rule, text in (
        ("absent", "lane", "batch", "no_such_scene", "没有场景 'absent'。"),
        ("odd", "version", 7, "permission", "需要权限：可以修改场景（chat.change_scene）。"),
        ("odd", "model", "absent", "no_model", "没有模型 'absent'。"),
        ("odd", "fallbacks", ["absent"], "no_model", "没有模型 'absent'。"),
        (
            "odd",
            "webhook",
            "https://a.example",
            "no_such_endpoint",
            "您没有此 Webhook 端点：请先添加。",
        ),
    ):
        body: Any = {"variables": {}, field: value}
        answer = caller.post(f"/api/llmchat/prompts/{path}/api", body, "application/json")
        refusal = answer.json()
        assert refusal["params"]["rule"] == rule, refusal
        assert refusal["detail"] == SENTENCES[rule] % refusal["params"]
        with override("zh-hans"):
            assert error_text("", refusal["detail"], refusal["params"]).text == text


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_web_app_has_every_sentence_with_its_parameters(language: str) -> None:
    source = (ROOT / f"static/js/i18n/reasons/{language}.js").read_text()
    found = re.findall(r""""rule\.(\w+)":\s+(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'),""", source)
    texts = {name: double or single for name, double, single in found}
    assert texts.keys() == SENTENCES.keys()
    for name, sentence in SENTENCES.items():
        expected = sorted(re.findall(r"%\((\w+)\)s", sentence))
        assert sorted(re.findall(r"{(\w+)}", texts[name])) == expected, name


def test_a_sentence_is_of_one_subject() -> None:
    assert len(SENTENCES) == sum(len(sentences) for sentences in SUBJECTS)


def test_no_two_rules_say_the_same() -> None:
    assert [sentence for sentence, times in Counter(SENTENCES.values()).items() if times > 1] == []


def test_a_refusal_is_said_in_the_language_of_the_page() -> None:
    refusal = because(NotFound, Reason.of("no_such_row", id=7), field="before")
    assert (refusal.message, refusal.field) == ("There is no row 7.", "before")
    with override("zh-hans"):
        assert translated(refusal) == "没有第 7 号行。"
