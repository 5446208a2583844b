"""Schemas and answers that would take for ever, or everything: refused, or stopped in time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.problems import InvalidRequest, TooLarge
from chat.exceptions import InvalidTemplate
from chat.models import LLMModel, Scene, SceneVersion, Status, Task
from chat.services import scenes
from chat.services import submit as submits
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission
from chat.structured import checking
from tests.chat.api.conftest import API, Api, alice_key, api  # noqa: F401 - fixtures
from tests.chat.conftest import Submit, frames_of, row, until
from tests.chat.consumers.conftest import socket  # noqa: F401 - a fixture
from tests.chat.structured.conftest import Play
from tests.chat.structured.scripted import ADA, PERSON, error_of, format_of
from tests.subtests import subtested

SCHEMA = "response_format.json_schema.schema"
HI = [{"role": "user", "content": "Hi"}]


def chain(links: int) -> dict[str, Any]:
    """Each link leads to the next twice: the last one applies 2^links times."""
    links_of = {
        f"l{number}": {"allOf": [{"$ref": f"#/$defs/l{number + 1}"}] * 2} for number in range(links)
    }
    return {"$ref": "#/$defs/l0", "$defs": {**links_of, f"l{links}": {"type": "object"}}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


REFUSED: dict[str, Any] = {
    "wrong type": ({"type": "strng"}, "strng"),
    "no schema inside": ({"properties": {"a": 5}}, "5"),
    "remote $ref": ({"$ref": "http://169.254.169.254/latest"}, "lead into this schema"),
    "$ref to a file": ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "into this schema"),
    "$ref to itself": ({"$ref": "#"}, "leads back"),
    "$ref to nowhere": ({"$ref": "#/$defs/missing"}, "nowhere"),
    "$ref chain": (chain(30), "more than 1000 schemas"),
    "look-around": ({"type": "string", "pattern": "(?=a)b"}, "RE2"),
    "too large a pattern": ({"type": "string", "pattern": "((a{1,1000}){1,1000}){9}"}, "pattern"),
    "too deep": (nested(40), "levels deep"),
    "too many names": ({"enum": [f"v{number}" for number in range(2_000)]}, "1000 entries"),
    "too large": ({"description": "x" * 100_000}, "65536 bytes"),
}


@subtested("name", REFUSED)
async def test_a_schema_that_cannot_be_used_is_refused_and_nothing_is_stored(
    api: Api,  # noqa: F811
    name: str,
) -> None:
    schema, words = REFUSED[name]
    body = {"messages": HI, "response_format": format_of(schema)}
    response = await api.post(f"{API}/request", body)
    problem = response.json()
    assert (response.status_code, problem["errors"][0]["field"]) == (400, SCHEMA), problem
    assert words in problem["detail"] + problem["errors"][0]["message"]
    assert not await in_database(Task.objects.exists)


async def test_a_schema_of_a_megabyte_is_refused_soon(alice: User, submit_as_alice: Submit) -> None:
    schema = {"properties": {f"p{number}": {"type": "string"} for number in range(40_000)}}
    assert len(json.dumps(schema)) > 1_000_000
    with pytest.raises(TooLarge) as refused:
        await submit_as_alice("Hi", response_format=format_of(schema))
    assert refused.value.field == "response_format"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"type": "json_schema"}, "response_format.json_schema"),
        (
            {"type": "json_schema", "json_schema": {"schema": {}}},
            "response_format.json_schema.name",
        ),
        (format_of([]), SCHEMA),  # type: ignore[arg-type]
        (format_of({}, strict="yes"), "response_format.json_schema.strict"),
    ],
)
async def test_a_format_of_the_wrong_form_is_refused_with_its_field(
    api: Api,  # noqa: F811
    given: dict[str, Any],
    field: str,
) -> None:
    for where in ("response_format", "extra_body.response_format"):
        extra = {"extra_body": {"response_format": given}}
        fields = {"response_format": given} if where == "response_format" else extra
        response = await api.post(f"{API}/request", {"messages": HI, **fields})
        assert response.status_code == 422
        wanted = where.removesuffix("response_format") + field
        assert response.json()["errors"][0]["field"] == wanted


async def test_a_socket_is_told_which_field_is_wrong(
    socket: Any,  # noqa: F811
    model: LLMModel,
) -> None:
    frame = {"type": "task.submit", "ref": "r", "messages": HI}
    schema = {"$ref": "https://example.com/schema"}
    await socket.send_json_to({**frame, "response_format": format_of(schema)})
    refused = await socket.receive_json_from()
    assert (refused["type"], refused["ref"]) == ("error", "r")
    assert (refused["error"]["code"], refused["error"]["field"]) == ("invalid_request", SCHEMA)


async def test_a_schema_is_looked_over_elsewhere_and_once(
    alice: User, submit_as_alice: Submit, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Any] = []
    check = vars(submits)["check_schema_apart"]

    async def noted(schema: dict[str, Any], owner_id: int) -> None:
        looked.append(schema)
        await check(schema, owner_id)

    monkeypatch.setattr(submits, "check_schema_apart", noted)
    many = {f"extra{number}": {"type": "string"} for number in range(300)}
    schema = {**PERSON, "properties": {**PERSON["properties"], **many}}
    await play(ADA)
    for _ in range(2):
        task_id = await submit_as_alice("Who?", response_format=format_of(schema))
        await frames_of(task_id, alice)
        assert (await row(task_id)).text == ADA
    assert looked == [schema]


async def test_a_large_schema_that_cannot_be_used_is_refused(submit_as_alice: Submit) -> None:
    schema = {"description": "x" * 10_000, "type": "strng"}
    with pytest.raises(InvalidRequest) as refused:
        await submit_as_alice("Hi", response_format=format_of(schema))
    assert refused.value.field == SCHEMA


async def test_answers_to_a_schema_that_is_often_used_are_checked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schema = {"type": "object", "required": ["often"]}
    for _ in range(8):
        assert (await checking.check_answer(schema, '{"often": 1}', 1)).text
    monkeypatch.setattr(checking, "_check_apart", None)
    assert (await checking.check_answer(schema, '{"often": 1}', 1)).text
    assert (await checking.check_answer(schema, "{}", 1)).errors


# --- Answers ------------------------------------------------------------------------------------
def tree(alternatives: int) -> dict[str, Any]:
    """Each level of a value is checked against each alternative, and so are all below it."""
    branch = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/node"}},
        "required": ["a"],
    }
    node = {"anyOf": [{**branch, "minProperties": 1}] * alternatives}
    return {"$ref": "#/$defs/node", "$defs": {"node": node}}


async def test_an_answer_that_takes_too_long_to_check_fails_and_holds_up_nobody(
    alice: User, bob: User, submit_as_alice: Submit, play: Play, settings: Settings
) -> None:
    settings.OUTPUT_CHECK_SECONDS = 1.0
    endless = '{"a":' * 30 + "1" + "}" * 30
    provider = await play(endless, ADA)
    slow_id = await submit_as_alice("Who?", response_format=format_of(tree(3)))
    await until(lambda: provider.bodies)
    request = CompositeRequest.model_validate({"messages": HI, "response_format": format_of()})
    quick_id = (await submits.submit(Submission(owner_id=bob.pk, request=request))).task_id
    await frames_of(quick_id, bob)
    # The other answer was asked for, checked and stored meanwhile.
    assert (await row(quick_id)).status == Status.SUCCEEDED
    assert (await row(slow_id)).status == Status.RUNNING
    await frames_of(slow_id, alice)
    task = await row(slow_id)
    assert (task.status, error_of(task)["code"]) == (Status.FAILED, "invalid_output")
    assert "takes more than 1 s" in error_of(task)["message"]
    # Another answer would take as long: none is paid for.
    assert (task.text, task.attempt, len(provider.bodies)) == (endless, 1, 2)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"name": NaN}', '"\\ud800"', '{"age": 1e999}', f'{{"age": {"9" * 5_000}}}'],
    ids=["deep", "NaN", "lone surrogate", "infinite", "many digits"],
)
async def test_what_others_could_not_read_is_no_answer_that_fits(
    alice: User, submit_as_alice: Submit, play: Play, text: str
) -> None:
    await play(text)
    task_id = await submit_as_alice("Who?", response_format=format_of({}))
    await frames_of(task_id, alice)
    task = await row(task_id)
    assert (task.status, error_of(task)["code"]) == (Status.FAILED, "invalid_output")


async def test_errors_about_odd_names_can_be_stored(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    await play('{"\\u0000": {"\\ud83d\\ude00": 1}}')
    schema = {"additionalProperties": {"additionalProperties": {"type": "string"}}}
    task_id = await submit_as_alice("Who?", response_format=format_of(schema))
    await frames_of(task_id, alice)
    task = await row(task_id)
    assert (error_of(task)["code"], task.attempt) == ("invalid_output", 2)


async def test_a_pattern_takes_linear_time(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    await play(json.dumps("a" * 50_000 + "!"), json.dumps("a" * 50_000))
    schema = {"type": "string", "pattern": "^(a+)+$"}
    task_id = await submit_as_alice("Who?", response_format=format_of(schema))
    async with asyncio.timeout(30):
        await frames_of(task_id, alice)
    assert (await row(task_id)).attempt == 2


async def test_a_large_answer_is_checked(alice: User, submit_as_alice: Submit, play: Play) -> None:
    people = json.dumps([json.loads(ADA)] * 2_000)
    await play(people)
    asked = format_of({"type": "array", "items": PERSON, "$defs": PERSON["$defs"]})
    task_id = await submit_as_alice("Who?", response_format=asked)
    frames = await frames_of(task_id, alice)
    assert frames.end is not None
    assert (await row(task_id)).text == frames.text == people


# --- Scenes -------------------------------------------------------------------------------------
def test_no_scene_is_written_with_a_schema_that_cannot_be_used(transactional_db: None) -> None:
    scene = Scene.objects.create(slug="who", title="Who")
    for name, (schema, words) in REFUSED.items():
        fields = {"user_template": "Who?", "output_schema": schema}
        with pytest.raises(InvalidTemplate) as refused:
            scenes.create_version(scene, None, fields)
        assert refused.value.field == "output_schema", name
        assert words in refused.value.message
    assert not SceneVersion.objects.exists()
