"""Values of CSV files, which are texts, and rows that name models of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.models import LLMModel, Scene
from chat.runner.runtime import Runtime
from chat.runs.reading.coercion import coerce
from chat.services.scenes import create_version, publish
from tests.chat.runs.conftest import Act, RunClient, prompts_of, turns_until

pytestmark = pytest.mark.django_db(transaction=True)

PROPERTIES: dict[str, Any] = {
    "count": {"type": "integer"},
    "price": {"type": "number"},
    "urgent": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "limit": {"type": ["integer", "null"]},
    "name": {"type": "string"},
    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "level": {"enum": [1, 2, 3]},
}


@pytest.fixture
def typed(model: LLMModel) -> Scene:
    scene = Scene.objects.create(slug="typed", title="Typed")
    names = "|".join(f"{{{{ {name} }}}}" for name in PROPERTIES)
    schema = {"type": "object", "properties": PROPERTIES, "required": [*PROPERTIES]}
    publish(create_version(scene, None, {"user_template": names, "variables_schema": schema}))
    return scene


async def test_texts_of_a_csv_file_become_what_the_scene_asks_for(
    runs: RunClient, typed: Scene, worker: Runtime, act: Act
) -> None:
    table = (
        "count,price,urgent,tags,limit,name,either,level\n"
        '3,1.50,true,"[""a""]",,7,8,2\n'
        "x,1,true,[],1,n,1,1\n"
        " 12 ,-2e3,No,[],5,007,x,3\n"
    )
    made = await act(runs.create, table, scene="typed", start="now")
    run = await turns_until(made["id"], "done")
    assert (run.succeeded, run.failed) == (2, 1)
    assert await act(prompts_of, made["id"]) == [
        "3|1.5|True|['a']|None|7|8|2", "12|-2000.0|False|[]|5|007|x|3",
    ]  # fmt: skip
    [group] = await act(runs.get, made["id"], "/errors")
    assert (group["code"], group["numbers"]) == ("invalid_variable", [2])


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("1", {"type": "integer"}, 1),
        ("+5", {"type": "integer"}, 5),
        ("1.0", {"type": "integer"}, "1.0"),
        ("1_000", {"type": "integer"}, "1_000"),
        ("９", {"type": "integer"}, "９"),
        ("1e5", {"type": "number"}, 100000.0),
        ("nan", {"type": "number"}, "nan"),
        ("1e999", {"type": "number"}, "1e999"),
        ("TRUE", {"type": "boolean"}, True),
        ("0", {"type": "boolean"}, False),
        ("maybe", {"type": "boolean"}, "maybe"),
        ("", {"type": ["boolean", "null"]}, None),
        ("{}", {"type": "object"}, {}),
        ("[1", {"type": "array"}, "[1"),
        ("5", {"type": ["string", "integer"]}, "5"),
        ("5", {"const": 5}, 5),
        ("5", {}, "5"),
        ("5", True, "5"),
        ("9" * 5000, {"type": "integer"}, "9" * 5000),
    ],
)
def test_a_text_is_read_as_its_type_or_stays(text: str, schema: Any, value: Any) -> None:
    found = coerce({"x": text}, {"x": schema}, set())
    assert json.dumps(found) == json.dumps({"x": value})


def test_an_empty_text_is_left_out_where_it_may_be() -> None:
    schemas: dict[str, Any] = {
        "a": {"type": "integer"},
        "b": {"type": "integer"},
        "c": {"type": "string"},
    }
    given = {"a": "", "b": "", "c": ""}
    assert coerce(given, schemas, {"a", "c"}) == {"b": "", "c": ""}


async def test_a_disabled_model_that_a_row_names_fails_that_row_alone(
    runs: RunClient, model: LLMModel, worker: Runtime, act: Act
) -> None:
    await act(
        lambda: LLMModel.objects.create(provider=model.provider, name="off", is_enabled=False)
    )
    message = [{"role": "user", "content": "Hello"}]
    lines = [{"messages": message}, {"messages": message, "model": "off"}, {"messages": message}]
    content = "\n".join(map(json.dumps, lines))
    made = await act(runs.create, content, "rows.jsonl", start="now")
    run = await turns_until(made["id"], "done")
    assert (run.succeeded, run.failed) == (2, 1)
    [group] = await act(runs.get, made["id"], "/errors")
    assert (group["code"], group["numbers"]) == ("model_disabled", [2])
