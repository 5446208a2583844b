"""AI fields over REST, with a real queue, and a feeder that takes its turns when a test says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from auditlog.context import disable_auditlog

from accounts.models import User
from aily.database.threads import in_database
from chat.llm.simulator.answers import simulated_answer
from chat.models import LLMModel, Run, Scene
from chat.services.scenes import create_version, publish
from tests.chat.runs.conftest import turn, turns_until
from tests.chat.tables.conftest import Grid, Grids
from tests.conftest import ClientOf
from tests.waiting import eventually

Json = dict[str, Any]
Act = Callable[..., Awaitable[Any]]


class AiGrid(Grid):
    """A table with AI fields, which are called by their names as well."""

    def api(
        self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str
    ) -> Any:
        """A request to a path under /api/tables. Errors are assertion errors."""
        call = getattr(self.client, method)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        options: Json = {"content_type": "application/json", "headers": given}
        response = call(
            f"/api/tables{path}",
            **({"data": body, **options} if body is not None else {"headers": given}),
        )
        assert response.status_code == status, response.content
        return response.json() if response.content else None

    def add_ai(self, name: str, *, status: int = 201, **fields: Any) -> Json:
        """Variables are mapped to names of fields."""
        mapping = fields.pop("mapping", {"text": "Text"})
        keyed = {
            variable: self.key(source)
            if isinstance(source, str) and source in self.fields
            else source
            for variable, source in mapping.items()
        }
        body = {"name": name, "scene": "echo", "mapping": keyed, **fields}
        made: Json = self.api("post", f"/{self.id}/ai-fields", body, status=status)
        if status == 201:
            for output in made["outputs"]:
                self.fields[output["name"]] = output
        return made

    def start(self, ai_field: Json, *, status: int = 201, **options: Any) -> Json:
        """Make a run and start it now; `which` and the like belong to its scope."""
        scope = {
            name: options.pop(name)
            for name in ("view", "filter", "rows", "first", "random", "which", "overwrite_edited")
            if name in options
        }
        body = {"scope": scope, "start": "now", **options}
        if body.get("try"):
            del body["start"]
        made: Json = self.api("post", f"/ai-fields/{ai_field['id']}/runs", body, status=status)
        return made

    def act(self, run_id: str, action: str, body: Json | None = None, *, status: int = 200) -> Any:
        return self.api("post", f"/runs/{run_id}:{action}", body or {}, status=status)

    def run(self, run_id: str) -> Json:
        found: Json = self.api("get", f"/runs/{run_id}")
        return found

    def cell(self, ai_field: Json, row_id: int) -> Json:
        found: Json = self.api("get", f"/cells/{ai_field['id']}/{row_id}")
        return found

    def states(self, ai_field: Json) -> dict[str, int]:
        counts: dict[str, int] = self.api("get", f"/ai-fields/{ai_field['id']}/states")["counts"]
        return counts

    def texts(self, name: str, row_ids: list[int]) -> list[Any]:
        """What rows hold in a field."""
        return [self.row(row_id)[name] for row_id in row_ids]


@pytest.fixture
def scene(model: LLMModel) -> Scene:
    """A scene with one variable, `text`, which is its prompt."""
    with disable_auditlog():
        scene = Scene.objects.create(slug="echo", title="Echo")
        publish(create_version(scene, None, {"user_template": "{{ text }}"}))
    return scene


@pytest.fixture
def grid(alice: User, client_of: ClientOf, scene: Scene) -> AiGrid:
    """Alice's, with the fields Text and Number."""
    made = Grids(client_of(alice)).make(Text="long_text", Number="number")
    return AiGrid(made.client, made.id, made.fields)


@pytest.fixture
def act(transactional_db: None) -> Act:
    """Await a call of blocking code."""
    return in_database


def expected(prompt: str, **fields: Any) -> str:
    """What the simulator answers to a prompt."""
    messages = [{"role": "user", "content": prompt}]
    return simulated_answer({"model": "deepseek-flash", "messages": messages, **fields}).text


async def done(run_id: str) -> Run:
    return await turns_until(run_id, "done")


async def some_ended(run_id: str, rows: int) -> None:
    """Take turns until so many rows of the run have ended."""

    def look() -> bool:
        turn()
        return Run.objects.get(pk=run_id).ended_rows >= rows

    await eventually(lambda: in_database(look))
