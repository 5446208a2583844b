"""The REST surface keeps what its OpenAPI document says, whatever it is sent.

Schemathesis makes requests that fit the document and requests that do not, a few for each
operation, the same ones in every run. They go over HTTP to the application in this process, with a
worker and a simulated provider. `make fuzz` sends many more.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from accounts.models import APIKey, Role, User
from aily.database import in_database
from aily.routing import routes
from aily.urls import api as application_api
from chat.models import Conversation, LLMModel, Provider, Scene, WebhookEndpoint
from chat.runner.runtime import Runtime
from chat.services.scenes import create_version, publish

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2"))
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
#: A request that is not answered by then hangs.
_TIMEOUT_SECONDS = 20


@pytest.fixture
async def base_url(worker: Runtime) -> AsyncIterator[str]:
    """The application on a free port, on this loop."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        routes, lifespan="off", log_config=None, access_log=False, loop="none", http="httptools"
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server._serve([listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    # A stream whose task has not ended would be waited for.
    server.should_exit = server.force_exit = True
    await serving


def _known(user: User) -> dict[str, Any]:
    """Things that are there, by the name of the path parameter that names them."""
    scene = Scene.objects.create(slug="fuzzed", title="Fuzzed")
    publish(create_version(scene, None, {"user_template": "x"}))
    create_version(scene, None, {"user_template": "y"})
    provider = Provider.objects.create(name="fuzzed", base_url="https://fuzzed.example")
    LLMModel.objects.create(provider=provider, name="fuzzed")
    owned = {
        "conversation_id": str(Conversation.objects.create(owner=user).pk),
        "endpoint_id": WebhookEndpoint.objects.create(owner=user, url="https://fuzzed.example").pk,
        "key_id": APIKey.create(user, "fuzzed")[0].pk,
        "role_id": Role.objects.create(name="fuzzed").pk,
        "user_id": User.objects.create_user("fuzzed").pk,
    }
    return {**owned, "name": "fuzzed", "slug": "fuzzed", "scene": "summarize", "number": 2}


def _fuzz(operation: Any, base_url: str, secret: str, known: dict[str, Any]) -> None:
    """Raise what Schemathesis found first."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {secret}"
    ours = {name: known[name] for name in known if f"{{{name}}}" in operation.path}
    checks = [CHECKS.get_one(name) for name in _CHECKS]

    modes = st.sampled_from(list(GenerationMode))
    cases = modes.flatmap(lambda mode: operation.as_strategy(generation_mode=mode))

    @hypothesis_settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases, st.booleans())
    def run(case: Any, is_known: bool) -> None:
        if is_known:
            case.path_parameters = {**(case.path_parameters or {}), **ours}
        case.call_and_validate(base_url, session, checks=checks, timeout=_TIMEOUT_SECONDS)

    with session:
        run()


async def test_no_answer_is_a_fault_or_undocumented(
    base_url: str, scenes: None, settings: Settings
) -> None:
    settings.SYNC_WAIT_SECONDS = 1
    user = await in_database(User.objects.create_superuser, "root", "", "root")
    _, secret = await in_database(APIKey.create, user, "fuzz")
    known = await in_database(_known, user)
    load_all_checks()
    schema = schemathesis.openapi.from_dict(application_api.get_openapi_schema())
    operations: list[Any] = [one.ok() for one in schema.get_all_operations()]  # type: ignore[union-attr]
    # What takes things away comes last.
    operations.sort(key=lambda one: one.method == "delete")
    found = []
    for operation in operations:
        try:
            await asyncio.to_thread(_fuzz, operation, base_url, secret, known)
        except BaseExceptionGroup as group:
            found.append(f"{operation.label}\n{group}")
    assert not found, "\n\n".join(found)
