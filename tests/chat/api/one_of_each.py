"""One of each thing that an address of the REST API can name."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.serializers import serialize
from django.utils import timezone

from accounts.models import APIKey, MenuItem, Role, User, UserSession
from aily.redis.clients import sync_redis
from chat.models import (
    Budget,
    CallState,
    Conversation,
    Delivery,
    Deployment,
    LLMModel,
    Provider,
    Run,
    RunRow,
    RunState,
    Scene,
    Status,
    Task,
    Tool,
    ToolCall,
    ToolServer,
    ToolServerKind,
    WebhookEndpoint,
)
from chat.scheduler.keys import deployment_keys
from chat.services.scenes import create_version, publish
from chat.tables.ai.comparisons import compare
from chat.tables.ai.fields import NewAiField, add_ai_field
from chat.tables.ai.runs import NewAiRun, create_runs
from chat.tables.ai.selection import Scope
from chat.tables.changes import Author
from chat.tables.exports.control import begin
from chat.tables.fields import NewField, live_fields
from chat.tables.imports.control import start
from chat.tables.imports.creation import NewImport, create_import
from chat.tables.models import AiField, Comparison, Export, Field, Import, Table, View
from chat.tables.rows.batch import Batch, apply_batch
from chat.tables.rows.operations import Create, Update
from chat.tables.snapshots import open_view
from chat.tables.tables import create_table
from tests.chat.tables.transfers import work


def one_of_each(owner: User, provider: Provider, name: str, path: str = "") -> dict[str, Any]:
    """What there is by now, by the path parameter that names it: all, or what `path` is about.

    `name` is that of whatever has one; a task of the model `<name>-used` of `provider` has ended.
    """
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "/providers": lambda: {"provider": _provider(name)},
        "/budgets": lambda: {"budget_id": _budget(owner, name)},
        "/menus": lambda: {"item_id": MenuItem.objects.create(label=name).pk},
        "/keys": lambda: {"key_id": APIKey.create(owner, name)[0].pk},
        "/roles": lambda: {"role_id": Role.objects.create(name=name).pk},
        "/sessions": lambda: {"session_id": _session(owner)},
        "/users": lambda: {"user_id": User.objects.create_user(name).pk},
        "/scenes /prompts /runs /tables": lambda: _scene(name),
        "/conversations": lambda: _conversation(owner),
        "/models /deployments /tasks /tool /webhooks": lambda: _model_and_tasks(
            owner, provider, name
        ),
        "/runs": lambda: _run(owner, name),
        "/tables": lambda: _table(owner, name),
    }
    known: dict[str, Any] = {"name": name, "slug": name}
    for words, make in makers.items():
        if not path or any(word in path for word in words.split()):
            known |= make()
    return known


def _provider(name: str) -> int:
    return Provider.objects.create(name=name, base_url="http://127.0.0.1:9").pk


def _budget(owner: User, name: str) -> int:
    return Budget.objects.create(user=owner, name=name, limit_calls=10).pk


def _session(owner: User) -> int:
    session = Session.objects.create(
        session_key=secrets.token_hex(16), expire_date=timezone.now() + timedelta(days=1)
    )
    return UserSession.objects.create(user=owner, session_key=session.pk).pk


def _scene(name: str) -> dict[str, Any]:
    """A scene with a live version and a draft."""
    scene = Scene.objects.create(slug=name, title="Fuzzed")
    publish(create_version(scene, None, {"user_template": "{{ text }}"}))
    create_version(scene, None, {"user_template": "{{ text }}"})
    return {"scene": name, "number": 2}


def _conversation(owner: User) -> dict[str, Any]:
    conversation = Conversation.objects.create(owner=owner)
    message = conversation.messages.create(role="user", content="x")
    return {"conversation_id": str(conversation.pk), "message_id": str(message.pk)}


def _model_and_tasks(owner: User, provider: Provider, name: str) -> dict[str, Any]:
    """A paused model with two deployments, and an ended task with a tool call and a delivery."""
    model = LLMModel.objects.create(provider=provider, name=f"{name}-used")
    paused = LLMModel.objects.create(provider=provider, name=name)
    limit = deployment_keys(paused.own_key).limit
    sync_redis().hset(limit, "paused_until", str(time.time() + 600))
    sync_redis().expire(limit, 600)
    deployment = Deployment.objects.create(model=model, name=name, provider=provider)
    task = Task.objects.create(
        owner=owner,
        model=model,
        messages=[],
        status=Status.SUCCEEDED,
        text="x",
        finished_at=timezone.now() - timedelta(hours=1),
    )
    return {
        "deployment": str(deployment),
        "deployment_id": deployment.pk,
        "task_id": str(task.pk),
        "call_id": str(_tool_call(task, name).pk),
        **_delivery(owner, task),
    }


def _tool_call(task: Task, name: str) -> ToolCall:
    server = ToolServer.objects.create(
        name=name, kind=ToolServerKind.HTTP, url="https://fuzzed.example"
    )
    tool = Tool.objects.create(
        server=server,
        name=name,
        function_name=name,
        method="POST",
        is_enabled=True,
        is_restricted=True,
    )
    return ToolCall.objects.create(
        task=task,
        step=1,
        place=0,
        attempt=1,
        call_id="call_1",
        name=name,
        tool_id=tool.pk,
        server=server.name,
        arguments="{}",
        is_idempotent=False,
        state=CallState.REQUIRES_ACTION,
    )


def _delivery(owner: User, task: Task) -> dict[str, Any]:
    endpoint = WebhookEndpoint.objects.create(owner=owner, url="https://fuzzed.example")
    delivery = Delivery.objects.create(
        owner=owner,
        kind="webhook",
        endpoint=endpoint,
        task=task,
        event="task.completed",
        state="failed",
    )
    return {"endpoint_id": endpoint.pk, "delivery_id": str(delivery.pk)}


def _run(owner: User, name: str) -> dict[str, Any]:
    """A paused run of the scene `name`, with a pending and a failed row."""
    run = Run.objects.create(
        owner=owner,
        kind="run",
        name=name,
        source={"format": "csv", "rows": "variables"},
        scene=name,
        columns=["Body"],
        mapping={"text": "Body"},
        state=RunState.PAUSED,
        total=2,
        pending=1,
        failed=1,
    )
    row = {"run": run, "payload": {"Body": "x"}, "payload_bytes": 12}
    RunRow.objects.create(number=1, line=2, **row)
    RunRow.objects.create(number=2, line=3, state="failed", error={"code": "internal"}, **row)
    return {"run_id": str(run.pk)}


def _table(owner: User, name: str) -> dict[str, Any]:
    table = create_table(owner, name, [NewField("Subject", "text"), NewField("Count", "integer")])
    [field, _] = live_fields(table.pk)
    result = apply_batch(table, Author(owner.pk), Batch([Create({field.key: "x"})]))
    view = View.objects.create(table=table, owner=owner, name=name)
    return {
        "table_id": table.pk,
        "field_id": field.pk,
        "row_id": result.outcomes[0].row_id,
        "view_id": view.pk,
        "snapshot_id": open_view(owner, view, {}).id,
    }


def ai_field_and_run(owner: User, known: dict[str, Any], *, is_ready: bool) -> dict[str, Any]:
    """An AI field with a run that is ready or paused, and a comparison."""
    new = NewAiField(known["slug"], known["slug"], {"text": f"f{known['field_id']}"})
    ai_field = add_ai_field(known["table_id"], new, owner)
    [ai_run] = create_runs(owner, None, ai_field, NewAiRun())
    run, key = ai_run.run, str(known["row_id"])
    if not is_ready:
        failed = {"state": "failed", "error": {"code": "internal"}}
        RunRow.objects.create(run=run, number=2, line=2, key=key, **failed)
        Run.objects.filter(pk=run.pk).update(state=RunState.PAUSED, total=2, failed=1)
    sides: list[dict[str, object]] = [{}, {"options": {"max_tokens": 9}}]
    compared = compare(owner, None, ai_field, sides, Scope(), rows=1, is_blind=True)
    return {
        "ai_field_id": ai_field.pk,
        "run_id": str(run.pk),
        "comparison_id": compared.pk,
    }


def unmade(owner: User, table_id: int, name: str) -> dict[str, Any]:
    """An AI field, a comparison, an export and an import as bare rows, which take no time."""
    ai_field = AiField.objects.create(table_id=table_id, owner=owner, name=name, scene=name)
    own = {"table_id": table_id, "owner": owner, "format": "csv", "state": "done"}
    return {
        "ai_field_id": ai_field.pk,
        "comparison_id": Comparison.objects.create(ai_field=ai_field, user=owner).pk,
        "export_id": str(Export.objects.create(**own).pk),
        "import_id": str(Import.objects.create(**own).pk),
    }


def stored_rows() -> dict[str, str]:
    """Everything that is stored, but for when a key was last used."""
    rows = {
        model._meta.label: serialize("json", model._base_manager.order_by("pk"))
        for app in ("accounts", "chat", "tables")
        for model in apps.get_app_config(app).get_models()
    }
    keys = rows["accounts.APIKey"]
    return {**rows, "accounts.APIKey": re.sub(r'"last_used_at": [^,]*', "", keys)}


def answer_by_hand(owner: User, known: dict[str, Any]) -> None:
    """Fill the cell of the AI field."""
    [output] = Field.objects.filter(ai_field=known["ai_field_id"])
    edit = Update(known["row_id"], {output.key: "By hand."})
    apply_batch(Table.objects.get(pk=known["table_id"]), Author(owner.pk), Batch([edit]))


def import_and_export(owner: User, table_id: int) -> dict[str, str]:
    """An import that is done, one of whose rows did not fit, and an export that is done."""
    table = Table.objects.get(pk=table_id)
    lines = b"Count\n" + b"1\n" * 20 + b"x\n"
    job, _ = create_import(NewImport(owner.pk, table, "fuzzed.csv"), [lines])
    work()
    start(Import.objects.get(pk=job.pk), owner)
    export = begin(owner, table, None, "csv", {})
    work()
    return {"import_id": str(job.pk), "export_id": str(export.pk)}
