"""What would take long, or all memory, ends soon, names its field and stores nothing.

Of an honest author's scene and of a bad author's; others are served meanwhile
(tests/e2e/test_rendering.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, override_settings

from accounts.models import User
from chat.models import Scene, SceneVersion, Task
from tests.chat.rendering.conftest import SHORT_SECONDS, Publish, SubmitVariables, refusal
from tests.chat.rendering.schemas import ANYTHING, nested, of_x
from tests.conftest import ClientOf
from tests.subtests import subtested

pytestmark = pytest.mark.usefixtures("_patient")


def shared(rounds: int, *names: str) -> str:
    """A template in which each value of a namespace holds the one before it twice."""
    sets = "".join(f"{{% set {name} = namespace(v=(1, 1)) %}}" for name in names)
    steps = "".join(f"{{% set {name}.v = ({name}.v, {name}.v) %}}" for name in names)
    return f"{sets}{{% for i in range({rounds}) %}}{steps}{{% endfor %}}"


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
