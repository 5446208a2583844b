"""The REST surface keeps what its OpenAPI document says, whatever it is sent.

Each operation is sent the example of its body, about things that are there: that has to work. Then
Schemathesis makes requests that fit the document and requests that do not, the same ones in every
run. They go over HTTP to the application in this process, with a worker and a simulated provider.
`make test` sends one to each sixth operation, `make slow` to all of them, `make fuzz` many.
FUZZ_ONLY, a regular expression, picks operations: "POST /api/users".
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import pytest
import requests
import uvicorn
from django.core.management import call_command
from django.test import Client
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes
from aily.urls import api as application_api
from aily.web.shutdown import shutdown_event
from chat.api import event_streams
from chat.delivery import addresses
from chat.llm.simulator.server import Simulator
from chat.models import LLMModel, Provider, Run, Status, Task, ToolServer, ToolServerKind
from chat.tables.models import Import
from chat.tools import listing
from tests.chat.api.one_of_each import (
    ai_field_and_run,
    answer_by_hand,
    import_and_export,
    one_of_each,
)
from tests.chat.conftest import StartWorker

#: Requests for each operation.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1"))
#: Of so many operations one is sent generated requests.
_EACH = [1 if "FUZZ_EXAMPLES" in os.environ else 6, pytest.param(1, marks=pytest.mark.slow)]
ONLY = os.environ.get("FUZZ_ONLY", "")
#: Tests that share the operations: the time limit of one test holds for each of them.
PARTS = 2
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
#: What an API key may not do.
_BY_SESSION = {
    "POST /api/keys",
    "POST /api/users",
    "GET /api/me/sessions",
    "DELETE /api/me/sessions",
    "DELETE /api/me/sessions/{session_id}",
    "POST /api/me/password",
}
#: What is done before a run's start; all else is done with one that is paused.
_OF_READY_RUNS = {"POST /api/llmchat/runs/{run_id}/start", "DELETE /api/llmchat/runs/{run_id}"}
#: What is done with an import before its start.
_OF_READY_IMPORTS = {
    "PATCH /api/tables/imports/{import_id}",
    "POST /api/tables/imports/{import_id}:start",
}
#: Done with a task that waits for its user.
_OF_WAITING_TASKS = {"POST /api/llmchat/tasks/{task_id}/tool-calls/{call_id}"}
#: Of an MCP server; all else is done with a plain HTTP service.
_OF_MCP_SERVERS = {"POST /api/llmchat/tool-servers/{name}/refresh"}
#: The provider answers at once: by then every answer is there, and every stream at its end.
_TIMEOUT_SECONDS = 20
#: The old one in the example of a change.
PASSWORD = "the one until now"
#: Schemathesis looks at the time whenever something comes, if only a comment.
_KEEP_ALIVE_SECONDS = 1
_STREAM_EVENTS = 10_000


@pytest.fixture
def demo_content(model: LLMModel) -> None:
    """What the examples of the document name."""
    call_command("seed_demo")


@pytest.fixture
async def base_url(
    demo_content: None,
    start_worker: StartWorker,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[str]:
    """The application on a free port, on this loop."""
    # The demo content names another simulator, which does not run.
    await in_database(Provider.objects.update, base_url=simulator.url)
    await start_worker()
    monkeypatch.setattr(event_streams, "SSE_KEEP_ALIVE_SECONDS", _KEEP_ALIVE_SECONDS)
    monkeypatch.setattr(addresses, "resolve", _resolved)
    monkeypatch.setattr(listing, "refresh", _listed)
    # The server in the example of a tool.
    await in_database(_add_server, "shop")
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        routes,
        lifespan="off",
        log_config=None,
        access_log=False,
        loop="none",
        http="httptools",
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server._serve([listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    shutdown_event().set()
    server.should_exit = True
    await serving


async def _resolved(host: str, port: int) -> list[str]:
    """No name is looked up: each is one of the public internet."""
    return ["1.1.1.1"]


async def _listed(server: ToolServer) -> listing.Changes:
    return listing.Changes()


def _add_server(name: str) -> None:
    ToolServer.objects.create(name=name, kind=ToolServerKind.HTTP, url="https://fuzzed.example")


def _known(number: int, label: str) -> tuple[dict[str, str], dict[str, Any]]:
    """A superuser's credentials as headers, and what is there, by the path parameter that names it.

    Each operation has its own: what one deletes or shuts out, the next ones need.
    """
    name = f"fuzzed-{number}"
    user = User.objects.create_superuser(f"root-{number}", "root@example.com", PASSWORD)
    simulator = Provider.objects.get(name="simulator")
    known = one_of_each(user, simulator, name, label)
    if "imports/" in label or "exports/" in label:
        known |= import_and_export(user, known["table_id"])
    if re.search(r"/(ai-fields|cells|comparisons)/|/tables/runs/", label):
        known |= ai_field_and_run(user, known, is_ready=label.endswith(":start"))
        if "/cells/" in label:
            answer_by_hand(user, known)
    if label in _OF_READY_IMPORTS:
        Import.objects.filter(pk=known["import_id"]).update(state="ready")
    if label in _OF_READY_RUNS:
        Run.objects.filter(pk=known["run_id"]).update(state="ready")
    if label in _OF_WAITING_TASKS:
        waiting = {"status": Status.REQUIRES_ACTION, "finished_at": None}
        Task.objects.filter(pk=known["task_id"]).update(**waiting)
    if label in _OF_MCP_SERVERS:
        ToolServer.objects.filter(name=known["name"]).update(kind=ToolServerKind.MCP)
    if label not in _BY_SESSION:
        return {"Authorization": f"Bearer {APIKey.create(user, 'root')[1]}"}, known
    browser, token = Client(), "x" * 32
    browser.force_login(user)
    cookies = f"sessionid={browser.session.session_key}; csrftoken={token}"
    return {"Cookie": cookies, "X-CSRFToken": token}, known


#: The same examples in each run.
_REPEATABLE = hypothesis_settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def _fuzz(
    operation: Any,
    base_url: str,
    credentials: dict[str, str],
    known: dict[str, Any],
    is_generated: bool,
) -> None:
    """Raise what Schemathesis found first."""
    from schemathesis import GenerationMode
    from schemathesis.checks import CHECKS

    session = requests.Session()
    session.headers.update(credentials)
    ours = {name: known[name] for name in re.findall(r"{(\w+)}", operation.path)}
    checks = [CHECKS.get_one(name) for name in _CHECKS]

    def send(case: Any) -> Any:
        answer = case.call_and_validate(base_url, session, checks=checks, timeout=_TIMEOUT_SECONDS)
        assert not answer.stream_cut_short, f"no end of {answer.headers['location']}"
        return answer

    modes = st.sampled_from(list(GenerationMode))
    cases = modes.flatmap(lambda mode: operation.as_strategy(generation_mode=mode))

    @_REPEATABLE
    @given(cases, st.booleans())
    def run(case: Any, is_known: bool) -> None:
        if is_known:
            case.path_parameters = {**(case.path_parameters or {}), **ours}
        send(case)

    with session:
        answer = send(_example(operation, ours))
        assert answer.status_code < 300, answer.text
        if is_generated:
            run()


def _example(operation: Any, known: dict[str, Any]) -> Any:
    """What /api/docs offers to try, about what is there."""
    bodies = list(operation.body)
    if not bodies:
        return operation.Case(path_parameters=known)
    body, media_type = bodies[0].definition["example"], bodies[0].media_type
    return operation.Case(path_parameters=known, body=body, media_type=media_type)


@cache
def _operations() -> list[Any]:
    # Imported where it is used: each process of pytest-xdist collects this file, for one to run it.
    import schemathesis
    from schemathesis.checks import load_all_checks

    load_all_checks()
    schema = schemathesis.openapi.from_dict(application_api.get_openapi_schema())
    schema.config.max_stream_events = _STREAM_EVENTS
    return [operation.ok() for operation in schema.get_all_operations()]


# The server's and the worker's threads in this process draw numbers while Hypothesis looks on.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
# The first part also reads the document; CI's machine needs more than a minute for it.
@pytest.mark.timeout(300 * EXAMPLES)
@pytest.mark.parametrize("each", _EACH)
@pytest.mark.parametrize("part", range(PARTS))
async def test_no_answer_is_a_fault_or_undocumented(
    base_url: str, settings: Settings, subtests: pytest.Subtests, part: int, each: int
) -> None:
    settings.SYNC_WAIT_SECONDS = 1
    wanted = [operation for operation in _operations() if re.search(ONLY, operation.label)]
    assert wanted
    for number, operation in enumerate(wanted[part::PARTS]):
        credentials, known = await in_database(_known, number, operation.label)
        with subtests.test(operation.label):
            is_generated = number % each == 0
            await asyncio.to_thread(_fuzz, operation, base_url, credentials, known, is_generated)
