"""Prompts that begin alike: the first row goes alone, and the others find its beginning kept."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chat.models import LLMModel, Run, Scene, Task
from chat.runner.runtime import Runtime
from chat.services.scenes import create_version, publish
from tests.chat.runs.conftest import Act, RunClient, turn, turns_until

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = "text\n" + "".join(f"Row {number}\n" for number in range(20))


@pytest.fixture
def long_scene(model: LLMModel) -> Scene:
    """Its prompts have 5,000 bytes in common, before what differs."""
    scene = Scene.objects.create(slug="long", title="Long")
    templates = {"system_template": "Rules. " * 700, "user_template": "{{ text }}"}
    publish(create_version(scene, None, templates))
    return scene


async def _started(runs: RunClient, act: Act, scene: str) -> str:
    """A run that has had one turn since its start."""
    made = await act(runs.create, ROWS, scene=scene)
    await turns_until(made["id"], "ready")
    await act(runs.post, made["id"], "start")
    await act(turn)
    run_id: str = made["id"]
    return run_id


def _open(run_id: str) -> int:
    return Run.objects.get(pk=run_id).open


async def test_the_first_row_goes_alone(runs: RunClient, long_scene: Scene, act: Act) -> None:
    run_id = await _started(runs, act, "long")
    assert await act(_open, run_id) == 1
    await act(turn)
    assert await act(_open, run_id) == 1
    # After five seconds the others go, though it has no answer yet.
    await act(Task.objects.update, created_at=(await act(Task.objects.get)).created_at - _FIVE)
    await act(turn)
    assert await act(_open, run_id) == 20


_FIVE = timedelta(seconds=5)


async def test_its_answer_lets_the_others_go(
    runs: RunClient, long_scene: Scene, worker: Runtime, act: Act
) -> None:
    run_id = await _started(runs, act, "long")
    run = await turns_until(run_id, "done")
    assert run.succeeded == 20
    created = await act(lambda: list(Task.objects.order_by("id")))
    lead, *others = created
    assert min(task.created_at for task in others) > lead.finished_at


async def test_short_prompts_go_together(runs: RunClient, scene: Scene, act: Act) -> None:
    assert await act(_open, await _started(runs, act, "echo")) == 20
