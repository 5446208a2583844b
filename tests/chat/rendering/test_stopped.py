"""What would take long, or all memory, ends soon, names its field and stores nothing.

Of an honest author's scene and of a bad author's; others are served meanwhile
(tests/e2e/test_rendering.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client, override_settings
from pytest_django import Settings

from accounts.models import User
from aily.problems import Problem
from chat.models import Scene, SceneVersion, Task
from chat.rendering.prompt import Prompt, PromptSource
from tests.chat.rendering.conftest import Publish, SubmitVariables, refusal
from tests.chat.rendering.pools import limits
from tests.conftest import ClientOf
from tests.subtests import subtested

ANYTHING: dict[str, Any] = {"type": "object"}


def of_x(**schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": schema}}


#: Of what is stopped: each such test takes so long. All else has the time of a busy machine.
SHORT_SECONDS = 0.2


@pytest.fixture
def _soon(settings: Settings) -> None:
    settings.RENDERING_SECONDS = SHORT_SECONDS


@pytest.fixture(autouse=True)
def _patient(settings: Settings) -> None:
    settings.RENDERING_SECONDS = 10


def shared(rounds: int, *names: str) -> str:
    """A template in which each value of a namespace holds the one before it twice."""
    sets = "".join(f"{{% set {name} = namespace(v=(1, 1)) %}}" for name in names)
    steps = "".join(f"{{% set {name}.v = ({name}.v, {name}.v) %}}" for name in names)
    return f"{sets}{{% for i in range({rounds}) %}}{steps}{{% endfor %}}"


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"l": value}
    return value


# --- Stopped while it works ---------------------------------------------------------------------
STOPPED: dict[str, tuple[str, Any, Any]] = {
    "unique of shared values": (shared(60, "a") + "{{ [a.v] | unique | list }}", ANYTHING, {}),
    "text of shared values": (shared(60, "a") + "{{ a.v | string }}", ANYTHING, {}),
    "concatenation": (shared(60, "a") + "{{ a.v ~ '' }}", ANYTHING, {}),
    "output": (shared(60, "a") + "{{ a.v }}", ANYTHING, {}),
    "comparison": (shared(60, "a", "b") + "{{ a.v == b.v }}", ANYTHING, {}),
    "hash": (shared(60, "a") + "{{ {a.v: 1} | length }}", ANYTHING, {}),
    "sorting in a loop": (
        "{% for i in range(9000) %}{% if (x | sort)[0] == 'c' %}{% endif %}{% endfor %}ok",
        ANYTHING,
        {"x": "ba" * 100_000},
    ),
    "a filter in a loop": (
        "{% for i in y %}{% if x | title == 'c' %}{% endif %}{% endfor %}ok",
        ANYTHING,
        {"x": "a " * 100_000, "y": [1] * 9000},
    ),
    "grouping in a loop": (
        "{% for i in y %}{% if y | groupby('k') | list | length == 2 %}{% endif %}{% endfor %}ok",
        ANYTHING,
        {"y": [{"k": "x" * 50 + str(i)} for i in range(3000)]},
    ),
    "a pattern of 16,000 instructions": (
        "ok",
        of_x(type="string", pattern=".{1,900}x.{1,900}y"),
        {"x": "xz" * 130_000},
    ),
    "a pattern where jsonschema uses Python's": (
        "ok",
        of_x(patternProperties={"^(a+)+$": True}, unevaluatedProperties=False),
        {"x": {"a" * 30 + "b": 1}},
    ),
    "alternatives that hold themselves": (
        "ok",
        {
            "$ref": "#/$defs/tree",
            "$defs": {
                "tree": {
                    "additionalProperties": {
                        "oneOf": [
                            {"$ref": "#/$defs/tree"},
                            {"allOf": [{"$ref": "#/$defs/tree"}], "maxProperties": 0},
                        ]
                    }
                }
            },
        },
        {"x": nested(30)},
    ),
}


#: Each takes a process of rendering along. Slow: the same work, begun otherwise.
_QUICK = (
    "unique of shared values",
    "sorting in a loop",
    "a pattern of 16,000 instructions",
    "alternatives that hold themselves",
)


@subtested("case", _QUICK)
def test_work_that_does_not_end_is_stopped(
    publish: Publish, submit_variables: SubmitVariables, case: str
) -> None:
    check_that_it_is_stopped(publish, submit_variables, case)


@pytest.mark.slow
@subtested("case", sorted(STOPPED.keys() - _QUICK))
def test_all_work_that_does_not_end_is_stopped(
    publish: Publish, submit_variables: SubmitVariables, case: str
) -> None:
    check_that_it_is_stopped(publish, submit_variables, case)


def check_that_it_is_stopped(
    publish: Publish, submit_variables: SubmitVariables, case: str
) -> None:
    template, schema, variables = STOPPED[case]
    assert publish(template, schema).status_code == 200
    with override_settings(RENDERING_SECONDS=SHORT_SECONDS):
        stopped = submit_variables(variables)
    assert refusal(stopped) == (422, "template_timeout", ["variables"])
    assert not Task.objects.exists()


def test_memory_is_bounded(publish: Publish, submit_variables: SubmitVariables) -> None:
    hoard = (
        "{% set a = namespace(v=[]) %}{% for i in range(9000) %}{% set a.v = [a.v, x | list] %}"
        "{% endfor %}ok"
    )
    assert publish(hoard, ANYTHING).status_code == 200
    answer = submit_variables({"x": "a" * 200_000})
    assert refusal(answer) == (422, "invalid_template", ["variables"])
    assert "memory" in answer.json()["detail"]


NAMES = [f"p{number}" for number in range(900)]
DEEP = "{{ x" + " | upper" * 180 + " }}"


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user_template": DEEP}, "user_template"),
        ({"system_template": DEEP}, "system_template"),
        ({"user_template": "{{ x" + ".a" * 180 + " }}"}, "user_template"),
        ({"variables_schema": {"properties": dict.fromkeys(NAMES, of_x())}}, "variables_schema"),
    ],
)
def test_what_takes_long_to_check_is_stopped(
    publish: Publish, fields: dict[str, Any], field: str
) -> None:
    """jinja2 compiles what is nested in cubic time."""
    refused = publish(**fields)
    assert refusal(refused) == (422, "template_timeout", [field])
    assert not SceneVersion.objects.exists()


def test_a_check_apart_may_be_made_within_a_transaction(
    staff: User, scene: Scene, client_of: ClientOf
) -> None:
    client = client_of(staff)
    path = "/api/scenes/odd/versions"
    # As the decorators of both headers open one.
    body = {"user_template": "{{ x" + " | upper" * 40 + " }}"}
    made = client.post(path, body, "application/json", headers={"Idempotency-Key": "k"})
    assert made.status_code == 201
    changed = client.patch(
        f"{path}/1",
        {"user_template": "{{ y" + " | lower" * 40 + " }}"},
        "application/json",
        headers={"If-Match": client.get(f"{path}/1")["ETag"]},
    )
    assert changed.status_code == 200
    assert SceneVersion.objects.get().user_template.startswith("{{ y")


@pytest.mark.usefixtures("_soon")
def test_the_admin_says_so_at_the_field(staff: User, scene: Scene) -> None:
    client = Client()
    client.force_login(staff)
    fields = {"scene": scene.pk, "user_template": DEEP, "variables_schema": "{}", "params": "{}",
              "fallback_models": "[]", "cache_ttl_seconds": 0}  # fmt: skip
    page = client.post("/admin/chat/sceneversion/add/", fields)
    assert page.status_code == 200
    assert page.context["adminform"].form.errors.keys() == {"user_template"}
    assert not SceneVersion.objects.exists()


# --- Linear now ---------------------------------------------------------------------------------
OBJECTS = [{"a": i, "b": [i, {"c": str(i)}]} for i in range(3000)]
FAST: dict[str, tuple[Any, Any, bool]] = {
    "blanks": (of_x(type="string", pattern="\\s+$"), " " * 40_000 + "x", False),
    "nested quantifiers": (of_x(type="string", pattern="^(a+)+$"), "a" * 26 + "b", False),
    "alternatives": (of_x(type="string", pattern="^(a|aa)+$"), "a" * 50_000 + "b", False),
    "names": (of_x(propertyNames={"pattern": "^(a+)+$"}), {"a" * 30 + "b": 1}, False),
    "properties": (
        of_x(patternProperties={"^(a+)+$": False}, additionalProperties=True),
        {"a" * 30 + "b": 1},
        True,
    ),
    "additional properties": (
        of_x(patternProperties={"^(a+)+$": True}, additionalProperties=False),
        {"a" * 30 + "b": 1},
        False,
    ),
    "unique objects": (of_x(uniqueItems=True), OBJECTS, True),
    "the same object twice": (of_x(uniqueItems=True), [*OBJECTS, OBJECTS[0]], False),
    "1 and true": (of_x(uniqueItems=True), [1, True, [0], [False], 2], True),
    "1 and 1.0": (of_x(uniqueItems=True), [[1], [1.0]], False),
    "an enum of objects": (of_x(enum=[{"a": i} for i in range(999)]), {"a": -1}, False),
    "contains": (of_x(contains={"const": OBJECTS[:100]}), [OBJECTS[:99]] * 3, False),
    "unevaluated": (
        of_x(allOf=[{"allOf": [{"allOf": [True], "unevaluatedItems": False}]}]),
        [1] * 2000,
        False,
    ),
    "multiples of a tiny number": (of_x(multipleOf=1e-300), 10**18, True),
    "multiples in a huge number": (of_x(multipleOf=0.0001), 1e308, True),
}


@subtested("case", FAST)
def test_a_check_that_took_long_is_made(
    publish: Publish, submit_variables: SubmitVariables, case: str
) -> None:
    schema, value, is_valid = FAST[case]
    assert publish("ok", schema).status_code == 200
    answer = submit_variables({"x": value})
    if is_valid:
        assert answer.status_code == 202
        return
    status, code, [field] = refusal(answer)
    assert (status, code) == (422, "invalid_variable")
    assert field.startswith("variables.x")
    assert len(answer.content) < 2000


# --- Refused before anything works on it --------------------------------------------------------
@pytest.mark.parametrize(
    "variables",
    [
        {"x": "é" * 300_000},
        {"x": [1] * 20_000},
        {"x": {str(i): i for i in range(20_000)}},
        {"x": nested(33)},
        '{"x": ' + "9" * 5000 + "}",
        '{"x": 1e400}',
        '{"x": -' + "9" * 101 + "}",
    ],
    ids=["bytes", "values", "names", "depth", "5,000 digits", "1e400", "101 digits"],
)
def test_variables_are_bounded(publish: Publish, caller: Client, variables: Any) -> None:
    assert publish("{{ x | length }}", ANYTHING).status_code == 200
    body = f'{{"variables": {as_json(variables)}}}'
    answer = caller.post("/api/llmchat/prompts/odd/api", body, "application/json")
    assert answer.status_code in (400, 422)
    assert len(answer.content) < 2000
    assert not Task.objects.exists()


def as_json(variables: Any) -> str:
    """As it is, where no encoder would write it; in UTF-8, as Django's client does not."""
    return variables if isinstance(variables, str) else json.dumps(variables, ensure_ascii=False)


def test_variables_within_the_bounds_are_taken(publish: Publish, caller: Client) -> None:
    assert publish("{{ x | length }} {{ y | length }}", ANYTHING).status_code == 200
    variables = {"x": [*range(9000), nested(29), 10**18], "y": "é" * 200_000}
    body = f'{{"variables": {as_json(variables)}}}'
    answer = caller.post("/api/llmchat/prompts/odd/api", body, "application/json")
    assert answer.status_code == 202
    assert Task.objects.get().messages[0]["content"] == "9002 200000"


def doubling(levels: int, link: Callable[[str], Any]) -> dict[str, Any]:
    links = {f"a{i}": link(f"#/$defs/a{i + 1}") for i in range(levels)}
    return {"$defs": {**links, f"a{levels}": {}}, "properties": {"x": {"$ref": "#/$defs/a0"}}}


SCHEMAS: dict[str, Any] = {
    "references that double": doubling(30, lambda to: {"allOf": [{"$ref": to}, {"$ref": to}]}),
    "alternatives that double": doubling(
        30, lambda to: {"anyOf": [{"$ref": to}, {"not": {"$ref": to}}]}
    ),
    "conditions that double": doubling(30, lambda to: {"if": {"$ref": to}, "then": {"$ref": to}}),
    "dependents that double": doubling(
        30, lambda to: {"dependentSchemas": {"a": {"$ref": to}, "b": {"$ref": to}}}
    ),
    "dynamic references": doubling(30, lambda to: {"$dynamicRef": to, "allOf": [{"$ref": to}]}),
    "unevaluated within unevaluated": doubling(
        12, lambda to: {"unevaluatedProperties": False, "allOf": [{"$ref": to}]}
    ),
    "a circle": {"properties": {"x": {"$ref": "#/properties/x"}}},
    "a longer circle": {
        "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}},
        "properties": {"x": {"$ref": "#/$defs/a"}},
    },
    "a $ref to what is no schema": {
        "$ref": "#/properties/x/title",
        "properties": {"x": {"title": "t"}},
    },
    "another dialect inside": of_x(**{"$schema": "http://json-schema.org/draft-07/schema#"}),
    "references that double, within an id of their own": {
        "$defs": {f"a{i}": {} for i in range(31)},
        "properties": {
            "x": {
                **doubling(30, lambda to: {"allOf": [{"$ref": to}, {"$ref": to}]}),
                "$id": "https://example.org/x",
                "$ref": "#/$defs/a0",
            }
        },
    },
    "an id of its own behind a reference": {
        "$ref": "#/x-schemas/a",
        "x-schemas": {"a": {"$id": "a", "type": "object"}},
    },
    "a reference to another host": of_x(**{"$ref": "https://example.org/x"}),
    "a reference to a file": of_x(**{"$ref": "file:///etc/passwd"}),
    "a reference by the id of the top": {
        "$id": "https://example.org/x",
        "properties": {"x": {"$ref": "https://example.org/y#/a"}},
    },
    "look-around": of_x(pattern="(?=a)"),
    "look-behind": of_x(items={"pattern": "(?<!a)b"}),
    "a back-reference": of_x(patternProperties={"(a)\\1": True}),
    "a pattern for a name": {"propertyNames": {"pattern": "(?!a)"}},
    "a huge repetition": of_x(pattern="((a{1,1000}){1,1000})"),
    "a huge pattern": of_x(pattern=".{1,999}" * 20),
    "depth": {"properties": {"x": nested(70)}},
    "values": of_x(enum=list(range(5000))),
    "entries": of_x(enum=list(range(1001))),
    "digits": of_x(multipleOf=10**110),
}  # fmt: skip


@subtested("case", SCHEMAS)
def test_a_schema_that_takes_too_much_is_refused(publish: Publish, case: str) -> None:
    refused = publish("ok", SCHEMAS[case])
    assert refusal(refused) == (422, "invalid_template", ["variables_schema"])
    assert len(refused.content) < 2000
    assert not SceneVersion.objects.exists()


@subtested(
    ("pattern", "value", "is_valid"),
    [
        ("^\\d{4}-\\d\\d$", "2026-11", True),
        ("^\\d+$", "٣", False),
        ("^a$", "a\n", False),
        ("^\\u00e4\\\\u$", "ä\\u", True),
        ("^\\u{1F600}$", "😀", True),
        ("^\\p{L}+$", "äß", True),
        ("^(?<year>\\d+)$", "7", True),
        ("^[\\w.\\-]+@\\w+\\/$", "a-b@c/", True),
    ],
)
def test_patterns_mean_what_json_schema_says(
    publish: Publish, submit_variables: SubmitVariables, pattern: str, value: str, is_valid: bool
) -> None:
    assert publish("ok", of_x(pattern=pattern)).status_code == 200
    assert submit_variables({"x": value}).status_code == (202 if is_valid else 422)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "(" * 10_000 + "1" + ")" * 10_000 + " }}",
        "{% if x %}" * 3000 + "{% endif %}" * 3000,
        "{{ " + "not " * 5000 + "x }}",
        "{{ " + "[" * 5000 + "]" * 5000 + " }}",
        "{{ x" + " ~ x" * 9000 + " }}",
        "{{ x" + " | upper" * 6000 + " }}",
    ],
    ids=["brackets", "ifs", "nots", "lists", "parts", "filters"],
)
def test_a_template_nested_without_end_is_refused(publish: Publish, template: str) -> None:
    refused = publish(template, ANYTHING)
    status, code, fields = refusal(refused)
    assert (status, fields) == (422, ["user_template"])
    assert code in ("invalid_template", "template_timeout")


@pytest.mark.parametrize(
    "template", ["{{ 'a' * 10**9 }}", "{{ 10 ** 10 ** 10 }}", "{{ '%9999999d' % 1 }}"]
)
def test_constants_are_not_worked_out_without_end(
    publish: Publish, submit_variables: SubmitVariables, template: str
) -> None:
    assert publish(template, ANYTHING).status_code == 200
    assert refusal(submit_variables({})) == (422, "invalid_template", ["user_template"])


def test_a_version_published_before_its_pattern_was_refused_says_so(
    publish: Publish, submit_variables: SubmitVariables
) -> None:
    assert publish("ok", of_x(pattern="a")).status_code == 200
    SceneVersion.objects.update(variables_schema=of_x(pattern="^(?=a).*$"))
    answer = submit_variables({"x": "a"})
    assert refusal(answer) == (422, "invalid_template", ["variables_schema"])
    assert "$.properties.x.pattern" in json.dumps(answer.json())


#: Ways to build what is huge, to go round without end, or to get out.
BOMBS = (
    *("{{ range(10000000)|list }}", "{{ '%*d' % (x, 1) }}", "{{ '%99999d'|format(1) }}"),
    *("{{ x|indent(99999) }}", "{{ x|center(99999) }}", "{{ x|wordwrap(1) }}"),
    *("{{ y|batch(1)|list }}", "{{ y|slice(99999)|list }}", "{{ y|tojson(indent=99999) }}"),
    *("{{ [[1], [2]]|sum(start=[]) }}", "{{ x.ljust(99999) }}", "{{ x.expandtabs(99999) }}"),
    *("{{ x.format(x) }}", "{{ x.join(x) }}", "{{ x * 99999 }}", "{{ y * 99999 }}"),
    "{{ 9223372036854775807 * 9223372036854775807 * 9223372036854775807 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for i in y recursive %}{{ loop(y) }}{% endfor %}",
    "{% call f() %}{{ caller() }}{% endcall %}",
    "{% for i in range(999) %}{% for j in range(999) %}x{% endfor %}{% endfor %}",
    "{% set a = namespace(v='a') %}{% for i in range(60) %}{% set a.v = a.v ~ a.v %}{% endfor %}",
    "{% set a = namespace(v=[1]) %}{% for i in range(60) %}{% set a.v = a.v + a.v %}{% endfor %}",
    "{% set a = namespace(v=2) %}{% for i in range(999) %}{% set a.v = a.v * a.v %}{% endfor %}",
    "{% set a = namespace() %}{% set a.v = [a] %}{{ a.v|tojson }}",
    *("{{ joiner(',') }}", "{{ cycler(1) }}", "{{ lipsum(9999) }}", "{{ dict(a=1) }}"),
    *("{{ x.__class__ }}", "{{ x['__class__'] }}", "{{ x|attr('__class__') }}"),
    *("{{ [x]|map('attr', '__class__')|list }}", "{{ [x]|sort(attribute='__class__.mro') }}"),
    *("{{ [x]|selectattr('__class__')|list }}", "{{ x.upper.__func__ }}"),
    *("{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% debug %}"),
    "{% block b %}{{ self.b() }}{% endblock %}",
)


@subtested("template", BOMBS)
def test_no_form_of_a_bomb_is_built(template: str) -> None:
    with pytest.raises(Problem) as refused:
        Prompt(PromptSource("", template, ANYTHING)).render({"x": "a", "y": [1]}, limits(10))
    assert len(refused.value.message) < 1000
