"""`manage.py cancel --filter`: which tasks it takes, and that it asks."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from chat.models import Lane, LLMModel, Scene, Status, Task


def run(*filters: str, options: tuple[str, ...] = ("--yes",)) -> str:
    out = StringIO()
    arguments = [argument for pair in filters for argument in ("--filter", pair)]
    call_command("cancel", *arguments, *options, stdout=out)
    return out.getvalue()


@pytest.fixture
def tasks(model: LLMModel, alice: User, bob: User) -> dict[str, Task]:
    other = LLMModel.objects.create(provider=model.provider, name="other")
    scene = Scene.objects.create(slug="s", title="S")

    def make(**fields: Any) -> Task:
        task: Task = Task.objects.create(**{
            "owner": alice, "model": model, "messages": [], "lane": Lane.NORMAL, **fields
        })  # fmt: skip
        return task

    made = {
        "plain": make(),
        "other": make(model=other),
        "scene": make(scene=scene),
        "bob": make(owner=bob),
        "batch": make(lane=Lane.BATCH),
        "running": make(status=Status.RUNNING),
        "old": make(),
        "text": make(metadata={"order": "4711"}),
        "number": make(metadata={"order": 4711}),
        "ended": make(status=Status.SUCCEEDED, metadata={"order": "4711"}),
    }
    Task.objects.filter(pk=made["old"].pk).update(created_at=timezone.now() - timedelta(hours=3))
    return made


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["model=other"], {"other"}),
        (["scene=s"], {"scene"}),
        (["user=bob"], {"bob"}),
        (["lane=batch"], {"batch"}),
        (["status=running"], {"running"}),
        (["older-than=2h"], {"old"}),
        (["metadata.order=4711"], {"text", "number"}),
        (["metadata.order=4711", "user=bob"], set()),
    ],
)
def test_it_cancels_what_all_filters_hold_for(
    tasks: dict[str, Task], filters: list[str], expected: set[str]
) -> None:
    assert run(*filters, options=("--dry-run",)) == f"{len(expected)} tasks\n"
    assert not Task.objects.filter(status=Status.CANCELLED).exists()
    assert run(*filters).startswith(f"{len(expected)} tasks\n")
    cancelled = set(Task.objects.filter(status=Status.CANCELLED).values_list("pk", flat=True))
    assert cancelled == {tasks[name].pk for name in expected}


def test_many_are_cancelled_page_by_page(
    model: LLMModel, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.services.selection.PAGE", 2)
    for _ in range(5):
        Task.objects.create(owner=alice, model=model, messages=[])
    assert run("user=alice") == "5 tasks\ncancelled 5 tasks\n"


@pytest.mark.parametrize(("reply", "is_cancelled"), [("y", True), ("", False), ("no", False)])
def test_it_asks_before_it_cancels(
    tasks: dict[str, Task], reply: str, is_cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        return reply

    monkeypatch.setattr("builtins.input", answer)
    run("user=bob", options=())
    assert asked == ["Cancel 1 tasks? [y/N] "]
    tasks["bob"].refresh_from_db()
    assert (tasks["bob"].status == Status.CANCELLED) is is_cancelled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user", "is not key=value"),
        ("user=", "is not key=value"),
        ("colour=red", "'colour' is no filter"),
        ("user=nobody", "no user 'nobody'"),
        ("model=nothing", "no model 'nothing'"),
        ("scene=nothing", "no scene 'nothing'"),
        ("status=succeeded", "status is queued or running"),
        ("lane=fast", "lane is"),
        ("older-than=soon", "no duration"),
    ],
)
def test_a_wrong_filter_is_an_error_and_cancels_nothing(
    tasks: dict[str, Task], text: str, message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run("user=alice", text)
    assert not Task.objects.filter(status=Status.CANCELLED).exists()


def test_without_anybody_to_ask_it_cancels_nothing(
    tasks: dict[str, Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(CommandError, match="add --yes"):
        run("user=bob", options=())
    assert not Task.objects.filter(status=Status.CANCELLED).exists()
