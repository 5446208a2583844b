"""Scenes as a service: what a template may do, what a variable may be, who writes a version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from aily.problems import Conflict, Problem, TooLarge
from chat.exceptions import InvalidTemplate, InvalidVariable
from chat.models import Scene, SceneVersion
from chat.rendering.sandbox import MAX_LOOP_STEPS
from chat.rendering.template import TEMPLATE_MAX_BYTES, HeavyWorkError
from chat.services.rendering import render as render_at_once
from chat.services.rendering import render_apart
from chat.services.scenes import (
    create_version,
    delete_version,
    edit_version,
    make_live,
    publish,
    validate_version,
)
from chat.tool_calls import PromptMessage

ANYTHING: dict[str, Any] = {"type": "object"}
NUMBERS = count(1)


def draft(user: str, schema: Any = ANYTHING, **fields: Any) -> SceneVersion:
    return SceneVersion(user_template=user, variables_schema=schema, **fields)


def render(version: SceneVersion, variables: Any) -> list[PromptMessage]:
    """As a submit does it: at once, or in a process that can be stopped."""
    # Published versions are kept by their numbers; these have none in the database.
    version.pk = version.pk or -next(NUMBERS)
    try:
        return render_at_once(version, variables)
    except HeavyWorkError:
        return asyncio.run(render_apart(version, variables, owner_id=1)).messages


def text_of(template: str, /, **variables: Any) -> str:
    return str(render(draft(template), variables)[-1]["content"])


def loop_with(start: str, step: str) -> str:
    """A template that works on a number four times over."""
    return (
        f"{{% set ns = namespace({start}) %}}"
        f"{{% for i in range(4) %}}{{% set ns.n = {step} %}}{{% endfor %}}"
    )


# --- Rendering ----------------------------------------------------------------------------------
def test_a_scene_becomes_a_system_and_a_user_message() -> None:
    version = draft("Say {{ text }}", system_template="Speak {{ language }}.")
    assert render(version, {"text": "hi", "language": "French"}) == [
        {"role": "system", "content": "Speak French."},
        {"role": "user", "content": "Say hi"},
    ]


def test_a_scene_without_system_template_has_no_system_message() -> None:
    assert render(draft("{{ a }}", system_template=" \n"), {"a": "x"}) == [
        {"role": "user", "content": "x"}
    ]


@pytest.mark.parametrize(
    ("template", "variables", "expected"),
    [
        ("{{ text }}", {"text": "<b> & \"quotes\" 'too'"}, "<b> & \"quotes\" 'too'"),
        ("{{ text }}", {"text": "{{ 7 * 6 }}"}, "{{ 7 * 6 }}"),
        ("{% for w in words %}{{ loop.index }}{{ w }} {% endfor %}", {"words": "ab"}, "1a 2b "),
        ("{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}", {"d": {"a": 1}}, "a=1"),
        ("{{ d | tojson }}", {"d": {"a": ["<é>"]}}, '{"a": ["<é>"]}'),
        ("{{ d | tojson(indent=2) }}", {"d": [1]}, "[\n  1\n]"),
        ("{{ name | default('you') }}", {}, "you"),
        ("{% if name is defined %}{{ name }}{% else %}-{% endif %}", {}, "-"),
        ("{{ words | join(', ') }}", {"words": ["a", "b"]}, "a, b"),
        ("{{ a ~ '-' ~ 1 }}", {"a": "x"}, "x-1"),
        ("{{ text | replace('a', 'b') | upper }}", {"text": "aha"}, "BHB"),
        ("{{ text.strip().title() }}", {"text": " ok "}, "Ok"),
        ("{{ 2 * 3 + 7 % 4 }}", {}, "9"),
        (loop_with("n=0", "ns.n + i") + "{{ ns.n }}", {}, "6"),
        ("{% if a %}\n  yes\n{% endif %}\nend", {"a": 1}, "  yes\nend"),
    ],
)  # fmt: skip
def test_templates_do_what_prompts_need(
    template: str, variables: dict[str, Any], expected: str
) -> None:
    assert text_of(template, **variables) == expected


def test_what_postgresql_cannot_store_is_replaced() -> None:
    assert text_of("{{ a }}", a="x\0y") == "x\ufffdy"
    assert text_of(r"{{ '\ud800' }}") == "\ufffd"


# --- What a template may not do -----------------------------------------------------------------
@pytest.mark.parametrize(
    "template",
    [
        "{{ text.__class__ }}",
        "{{ text.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ text | attr('__class__') }}",
        "{{ text.format(1) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ range.__globals__ }}",
        "{{ loop }}",
        "{{ words.append(1) }}",
        "{{ self._TemplateReference__context }}",
        "{{ cycler }}{{ lipsum(9) }}",
        "{% include 'x' %}",
        "{% import 'x' as x %}",
        "{% extends 'x' %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for i in words recursive %}{{ loop(words) }}{% endfor %}",
    ],
)
def test_a_template_cannot_get_out_of_its_sandbox(template: str) -> None:
    with pytest.raises((InvalidTemplate, InvalidVariable)):
        text_of(template, text="x", words=["a"])


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ range(1000000000) | list }}",
        "{% for a in range(9000) %}{% for b in range(9000) %}{% endfor %}{% endfor %}",
        "{% for a in text %}{% for b in text %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}",
        "{% set a = text %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
        "{% set a = text %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
        "{% set a = text %}" + "{% set a = [a, a] | join %}" * 40 + "{{ a }}",
        "{% set a = text %}" + "{% set a = a | replace('x', a) %}" * 40 + "{{ a }}",
        "{% set a %}" + "{{ text }}" * 40 + "{% endset %}{{ a }}",
        loop_with("n=99999", "ns.n * ns.n"),
        "{{ text | center(1000000000) }}",
        "{{ text | indent(1000000000) }}",
        "{{ text.ljust(1000000000) }}",
        "{{ text.replace('', text) }}",
        "{{ text | batch(1000000000, 'x') | list }}",
        "{{ {'a': text} | tojson(indent=1000000000) }}",
        "{% for i in range(9999) %}{{ text }}{% endfor %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ text" + " ~ text" * 9000 + " }}",
    ],
)
def test_a_template_cannot_run_away(template: str) -> None:
    started = time.monotonic()
    with pytest.raises(Problem):
        text_of(template, text="x" * 9000)
    # Each of these would take minutes, or all memory; a limit stops it within milliseconds.
    assert time.monotonic() - started < 20


def test_the_loop_limit_counts_all_loops_of_one_rendering_only() -> None:
    version = draft("{% for a in range(n) %}{% endfor %}ok")
    for _ in range(2):
        assert render(version, {"n": MAX_LOOP_STEPS})[0]["content"] == "ok"
    with pytest.raises(InvalidTemplate, match="loops"):
        text_of("{% for a in range(n) %}{% endfor %}" * 2, n=MAX_LOOP_STEPS // 2 + 1)


def test_the_prompt_limit_counts_bytes_of_both_messages(settings: Settings) -> None:
    settings.PROMPT_MAX_BYTES = 10
    assert text_of("{{ a }}", a="é" * 5) == "é" * 5
    for user, system, value in [("{{ a }}", "", "é" * 6), ("{{ a }}", "{{ a }}", "x" * 6)]:
        with pytest.raises(TooLarge):
            render(draft(user, system_template=system), {"a": value})


# --- Variables ----------------------------------------------------------------------------------
TYPED = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": 5},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
    },
    "required": ["text"],
    "additionalProperties": False,
    "$defs": {"tag": {"enum": ["a", "b"]}},
}


@pytest.mark.parametrize(
    ("schema", "variables", "field"),
    [
        (TYPED, {}, "variables.text"),
        (TYPED, {"text": 1}, "variables.text"),
        (TYPED, {"text": "too long"}, "variables.text"),
        (TYPED, {"text": "x", "tags": ["a", "c"]}, "variables.tags.1"),
        (TYPED, {"text": "x", "other": 1}, "variables.other"),
        ({}, {}, "variables.text"),
        ({}, {"text": 1}, "variables.text"),
        ({}, {"text": "x", "other": "y"}, "variables.other"),
        (ANYTHING, {}, "variables.text"),
        (ANYTHING, [], "variables"),
        (ANYTHING, {"text": ""}, "variables"),
    ],
)
def test_a_wrong_variable_is_named(schema: Any, variables: Any, field: str) -> None:
    with pytest.raises(InvalidVariable) as caught:
        render(draft("{{ text }}", schema), variables)
    assert caught.value.field == field
    assert caught.value.status == 422


def test_an_error_does_not_repeat_a_whole_text() -> None:
    with pytest.raises(InvalidVariable) as caught:
        render(draft("{{ text }}", TYPED), {"text": "x" * 100_000})
    assert len(caught.value.message) <= 300


def test_a_value_that_the_template_cannot_use_is_the_callers_error() -> None:
    with pytest.raises(InvalidVariable):
        text_of("{% for x in y %}{{ x }}{% endfor %}", y=1)
    with pytest.raises(InvalidVariable) as caught:
        text_of("{{ user.name }}", user={})
    assert caught.value.field == "variables"


# --- Checking a version -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user_template": ""}, "user_template"),
        ({"user_template": "{{ a"}, "user_template"),
        ({"user_template": "{{ a | nope }}"}, "user_template"),
        ({"user_template": "{% endfor %}"}, "user_template"),
        ({"user_template": "é" * (TEMPLATE_MAX_BYTES // 2 + 1)}, "user_template"),
        ({"system_template": "{% if %}"}, "system_template"),
        ({"params": []}, "params"),
        ({"variables_schema": []}, "variables_schema"),
        ({"variables_schema": {"type": "array"}}, "variables_schema"),
        ({"variables_schema": {"type": "object", "properties": 1}}, "variables_schema"),
        ({"variables_schema": {"properties": {"a": {"pattern": "("}}}}, "variables_schema"),
        ({"variables_schema": {"$ref": "https://example.com/schema"}}, "variables_schema"),
        ({"variables_schema": {"$ref": "file:///etc/passwd"}}, "variables_schema"),
        ({"variables_schema": {"$ref": "#/$defs/nope"}}, "variables_schema"),
        ({"variables_schema": {"$ref": "#"}}, "variables_schema"),
        ({"variables_schema": {"additionalProperties": False}}, "variables_schema"),
        ({"variables_schema": {"description": "x" * 70_000}}, "variables_schema"),
    ],
)
def test_a_version_that_cannot_be_used_is_refused(fields: dict[str, Any], field: str) -> None:
    usable = {"user_template": "{{ a }}", "variables_schema": {}}
    validate_version(SceneVersion(**usable))
    with pytest.raises(InvalidTemplate) as caught:
        validate_version(SceneVersion(**{**usable, **fields}))
    assert caught.value.field == field


# --- Writing versions ---------------------------------------------------------------------------
@pytest.fixture
def scene(transactional_db: None) -> Scene:
    return Scene.objects.create(slug="greet", title="Greet")


def write(scene: Scene, template: str = "Hi {{ name }}") -> SceneVersion:
    return create_version(scene, None, {"user_template": template})


def test_numbers_count_up_even_when_many_write_at_once(scene: Scene) -> None:
    def write_one(_: int) -> int:
        try:
            return write(scene).number
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(write_one, range(24)))
    assert sorted(numbers) == list(range(1, 25))


def test_publishing_freezes_a_version_and_makes_it_live(scene: Scene) -> None:
    version = write(scene)
    published = publish(version)
    scene.refresh_from_db()
    assert scene.live_version == published
    for change in (
        lambda: edit_version(published, {"user_template": "Bye"}),
        lambda: edit_version(version, {"user_template": "Bye"}),
        lambda: delete_version(published),
        lambda: publish(version),
    ):
        with pytest.raises(Conflict):
            change()
    version.refresh_from_db()
    assert version.user_template == "Hi {{ name }}"


def test_publishing_writes_down_the_schema_that_was_implied(scene: Scene) -> None:
    published = publish(write(scene))
    published.refresh_from_db()
    assert published.variables_schema == {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }


def test_a_draft_can_be_edited_and_dropped_but_not_made_live(scene: Scene) -> None:
    version = write(scene)
    edited = edit_version(version, {"user_template": "Bye {{ who }}"})
    assert render(edited, {"who": "you"})[0]["content"] == "Bye you"
    with pytest.raises(InvalidTemplate):
        edit_version(version, {"user_template": "{{"})
    version.refresh_from_db()
    assert version.user_template == "Bye {{ who }}"
    with pytest.raises(Conflict):
        make_live(version)
    delete_version(version)
    assert not SceneVersion.objects.exists()


def test_rolling_back_moves_the_pointer(scene: Scene) -> None:
    first, second = publish(write(scene, "one")), publish(write(scene, "two"))
    for version, expected in ((second, "two"), (first, "one"), (second, "two")):
        make_live(version)
        scene.refresh_from_db()
        assert scene.live_version is not None
        assert render(scene.live_version, {})[0]["content"] == expected


def test_of_an_edit_and_a_publication_at_once_exactly_what_was_published_is_kept(
    scene: Scene,
) -> None:
    def attempt(action: Any) -> bool:
        try:
            action()
        except Conflict:
            return False
        finally:
            connection.close()
        return True

    for round_ in range(10):
        version = write(scene, "before")
        with ThreadPoolExecutor(2) as threads:
            edit = threads.submit(
                attempt, lambda v=version: edit_version(v, {"user_template": "after"})
            )
            published = threads.submit(attempt, lambda v=version: publish(v))
        assert published.result(), round_
        version.refresh_from_db()
        assert version.user_template == ("after" if edit.result() else "before")


def test_a_published_version_is_compiled_once(scene: Scene) -> None:
    version = publish(write(scene, "{% for part in name %}{{ part }}{% endfor %}" * 50))
    render(version, {"name": "x"})
    stored = SceneVersion.objects.get
    assert _shortest(lambda: stored(pk=version.pk)) < _shortest(
        lambda: draft(version.user_template, {})
    )


def _shortest(make: Callable[[], SceneVersion]) -> float:
    """The seconds of the quickest of some renderings: what else the machine does makes others last
    longer."""
    found = []
    for _ in range(20):
        version, started = make(), time.perf_counter()
        render(version, {"name": "x"})
        found.append(time.perf_counter() - started)
    return min(found)
