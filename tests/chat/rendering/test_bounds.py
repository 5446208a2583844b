"""Variables and templates beyond the bounds are refused before anything works on them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from aily.problems import Problem
from chat.models import Task
from chat.rendering.prompt import Prompt, PromptSource
from tests.chat.rendering.conftest import Publish, SubmitVariables, refusal
from tests.chat.rendering.pools import limits
from tests.chat.rendering.schemas import ANYTHING, nested
from tests.subtests import subtested

pytestmark = pytest.mark.usefixtures("_patient")


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
