"""A name in a template is a variable, whatever Jinja2 has of that name; or it is refused."""

from __future__ import annotations

import pytest

from chat.models import SceneVersion, Task
from tests.chat.rendering.conftest import Publish, SubmitVariables, refusal
from tests.subtests import subtested


@subtested(
    "name",
    ["range", "namespace", "self", "loop", "cycler", "joiner", "dict", "lipsum", "super", "caller",
     "varargs", "kwargs", "context", "environment", "ns", "block"],
)  # fmt: skip
def test_a_variable_may_be_called_as_a_function_is(
    publish: Publish, submit_variables: SubmitVariables, name: str
) -> None:
    published = publish("{{ " + name + " }}")
    assert published.status_code == 200
    assert published.json()["variables_schema"]["required"] == [name]
    assert submit_variables({name: "mine"}).status_code == 202
    assert Task.objects.latest("created_at").messages[0]["content"] == "mine"
    assert refusal(submit_variables({})) == (422, "invalid_variable", [f"variables.{name}"])


@subtested(
    ("template", "variables", "content"),
    [
        ("{% for i in range(2) %}{{ range }}{% endfor %}", {"range": "r"}, "rr"),
        ("{% for i in range %}{{ i }}{% endfor %}", {"range": "ab"}, "ab"),
        ("{% set n = namespace(v=1) %}{{ namespace }}{{ n.v }}", {"namespace": "x"}, "x1"),
        ("{% set self = 1 %}{{ self }}", {}, "1"),
        ("{{ loop }}{% for i in 'ab' %}{{ loop.index }}{% endfor %}", {"loop": "l"}, "l12"),
        ("{{ order.items }} {{ order['keys'] }}", {"order": {"items": 2, "keys": 3}}, "2 3"),
        ("{% for k, v in o.items() %}{{ k }}{{ v }}{% endfor %}", {"o": {"items": 1}}, "items1"),
        ("{{ range is defined }}", {}, "False"),
    ],
)
def test_a_variable_and_a_function_of_one_name_stand_side_by_side(
    publish: Publish,
    submit_variables: SubmitVariables,
    template: str,
    variables: dict[str, object],
    content: str,
) -> None:
    assert publish(template, {"type": "object"}).status_code == 200
    assert submit_variables(variables).status_code == 202
    assert Task.objects.latest("created_at").messages[0]["content"] == content


@pytest.mark.parametrize(
    ("template", "name", "field"),
    [
        ("{% for i in 'ab' %}{{ loop }}{% endfor %}", "x", "user_template"),
        ("{% for i in 'ab' %}{% set y = loop %}{% endfor %}", "x", "user_template"),
        ("{% for i in 'ab' %}{{ loop.index }}{% endfor %}", "loop", "variables_schema"),
        ("{{ true }}", "true", "variables_schema"),
        ("{{ none }}", "none", "variables_schema"),
        ("{{ __range }}", "x", "user_template"),
        ("{{ __steps_left }}", "x", "user_template"),
    ],
)
def test_what_would_hide_a_variable_is_refused(
    publish: Publish, template: str, name: str, field: str
) -> None:
    refused = publish(template, {"properties": {name: {"type": "string"}}})
    assert refusal(refused) == (422, "invalid_template", [field])
    assert not SceneVersion.objects.exists()


@pytest.mark.parametrize(
    "template",
    ["{{ x.upper }}", "{{ namespace(a=1) }}", "{% for i in x %}{{ loop.cycle }}{% endfor %}"],
)
def test_no_address_in_memory_gets_into_a_prompt(
    publish: Publish, submit_variables: SubmitVariables, template: str
) -> None:
    assert publish(template, {"type": "object"}).status_code == 200
    assert refusal(submit_variables({"x": "abc"})) == (422, "invalid_template", ["user_template"])


def test_a_caller_cannot_reach_what_counts_the_steps(
    publish: Publish, submit_variables: SubmitVariables
) -> None:
    template = "{% for i in range(9000) %}{% for j in range(9000) %}{% endfor %}{% endfor %}ok"
    assert publish(template, {"type": "object"}).status_code == 200
    mine = {"__steps_left": [10**9], "__range": "x", "__max_bytes": 10**9, "__self": "x"}
    assert refusal(submit_variables(mine)) == (422, "invalid_template", ["user_template"])
