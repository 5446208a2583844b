"""Clients that generators make of the OpenAPI document: without a warning, and they work."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.conf import settings

from tests.e2e.conftest import Keys
from tests.stack import Stack

BIN = Path(sys.executable).parent
NOBODYS = UUID("01900000-0000-7000-8000-000000000000")
_SOURCES = resources.files("tests.e2e") / "clients"
_GENERATOR = "npm:openapi-typescript@7.13.0"


@pytest.fixture(scope="module")
def document(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document as the server gives it to anybody."""
    response = httpx.get(f"{stack.base_url}/api/openapi.json", timeout=30)
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_bytes(response.raise_for_status().content)
    return path


# --- Python -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def generated(document: Path) -> Iterator[str]:
    """The name of the package that openapi-python-client makes."""
    name = "aily_client_of_tests"
    result = subprocess.run(
        [
            BIN / "openapi-python-client", "generate", "--fail-on-warning", "--meta", "none",
            "--path", document, "--output-path", document.parent / name,
        ],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "arning" not in result.stdout + result.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(document.parent)
        yield name
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]


class PythonClient:
    """The generated package, with a key."""

    def __init__(self, package: str, base_url: str, key: str) -> None:
        self._package = package
        self.models: ModuleType = importlib.import_module(f"{package}.models")
        made = importlib.import_module(package).AuthenticatedClient
        self.client = made(base_url=base_url, token=key, raise_on_unexpected_status=True)

    def call(self, operation: str, *path: object, **fields: Any) -> Any:
        module = importlib.import_module(f"{self._package}.api.{operation}")
        return module.sync(*path, client=self.client, **fields)

    def file(self, content: bytes) -> Any:
        return importlib.import_module(f"{self._package}.types").File(BytesIO(content))


@pytest.fixture
def python_client(generated: str, stack: Stack, keys: Keys) -> PythonClient:
    return PythonClient(generated, stack.base_url, keys.alice)


def test_the_python_client_has_a_function_for_each_operation(
    generated: str, document: Path
) -> None:
    paths = json.loads(document.read_bytes())["paths"].values()
    operations = {
        f"{operation['tags'][0]}/{operation['operationId']}.py"
        for path in paths
        for operation in path.values()
    }
    assert len(operations) > 80
    for operation in operations:
        # To import all of them takes as long as all other tests of the client.
        source = (document.parent / generated / "api" / operation).read_text()
        compile(source, operation, "exec")
        assert "\ndef sync_detailed(" in source


def test_the_python_client_submits_reads_and_lists(python_client: PythonClient) -> None:
    models, call = python_client.models, python_client.call
    body = models.SceneRequest.from_dict(
        {"variables": {"text": "A queue."}, "temperature": 0.5, "metadata": {"client": "python"}}
    )
    task = call("tasks.submit_prompt", "summarize", body=body, sync=True)
    assert isinstance(task, models.TaskOut)
    assert task.status == "succeeded"
    assert task.usage.total_tokens == task.usage.prompt_tokens + task.usage.completion_tokens > 0
    assert task.result.text
    assert call("tasks.get_task", task.task_id) == task
    page = call("tasks.list_tasks", metadata=["client:python"], created_before=None)
    assert [item.task_id for item in page.items] == [task.task_id]
    events = call("tasks.stream_task_events", task.task_id)
    assert "event: task.completed" in events
    by_metadata = models.GetUsageGroupBy.METADATA
    usage = call("usage.get_usage", group_by=by_metadata, metadata_key="client")
    assert usage.metadata_key == "client"


def test_the_python_client_gets_errors_of_tasks_and_requests(python_client: PythonClient) -> None:
    models, call = python_client.models, python_client.call
    message = {"role": "user", "content": "Hi [sim:error=400]"}
    body = models.CompositeRequest.from_dict({"messages": [message]})
    task = call("tasks.submit_request", body=body, sync=True)
    assert (task.status, task.error.code) == ("failed", "provider_bad_request")
    problem = call("tasks.get_task", NOBODYS)
    assert isinstance(problem, models.Problem)
    assert (problem.status, problem.code) == (404, "not_found")
    refused = call("tasks.list_tasks", metadata=["nothing"])
    assert refused.errors[0].field == "query.metadata"


def test_the_python_client_makes_changes_and_deletes(python_client: PythonClient) -> None:
    models, call = python_client.models, python_client.call
    new = models.EndpointIn.from_dict(
        {"url": "http://127.0.0.1:9/", "only_metadata": {"client": "python"}}
    )
    endpoint = call("webhooks.create_webhook", body=new, idempotency_key="generated-client")
    assert endpoint.secret.startswith("whsec_")
    assert endpoint.only_metadata.to_dict() == {"client": "python"}
    patch = models.EndpointPatch.from_dict({"is_active": False})
    changed = call("webhooks.edit_webhook", endpoint.id, body=patch)
    assert changed.is_active is False
    assert changed.only_metadata.to_dict() == {"client": "python"}
    assert call("webhooks.delete_webhook", endpoint.id) is None
    assert call("webhooks.list_webhooks").count == 0


def test_the_python_client_sends_a_file_and_says_how_it_is_read(
    python_client: PythonClient,
) -> None:
    models, call = python_client.models, python_client.call
    job = call(
        "tables.create_table_import",
        body=python_client.file(b"SKU;Price\nA-1;12,50\n"),
        file_name="prices.csv",
    )
    assert isinstance(job, models.ImportOut)
    dialect = models.DialectIn(date_order=models.DialectInDateOrder.DMY)
    assert dialect.to_dict() == {"date_order": "dmy"}


# --- TypeScript -----------------------------------------------------------------------------------
def _deno(*arguments: str | Path, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DENO_DIR": f"{settings.BASE_DIR}/var/deno",
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
    }
    return subprocess.run(
        [BIN / "deno", *arguments],
        cwd=directory, capture_output=True, text=True, timeout=120, check=False, env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def typescript(document: Path) -> Path:
    """The directory with the types that openapi-typescript makes, and a program that uses them.

    Its packages come from npm once, those of the lock file.
    """
    directory = document.parent / "typescript"
    directory.mkdir()
    for name in ("use.ts", "deno.json", "deno.lock"):
        (directory / name).write_text((_SOURCES / name).read_text())
    fetched = _deno(
        "cache", "--frozen", _GENERATOR, "npm:openapi-fetch@0.17.0", directory=directory
    )
    if fetched.returncode and "error sending request" in fetched.stderr:
        pytest.skip("the npm registry cannot be reached, and its packages are not cached")
    assert fetched.returncode == 0, fetched.stderr
    made = _deno(
        "run", "--cached-only", "--frozen", "-A", _GENERATOR, document, "-o", "api.d.ts",
        directory=directory,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert "arn" not in made.stdout + made.stderr
    return directory


@pytest.mark.slow
def test_a_typescript_client_is_typed_and_works(typescript: Path, stack: Stack, keys: Keys) -> None:
    source = (typescript / "use.ts").read_text()
    # Types that allow everything would be of no use.
    (typescript / "wrong.ts").write_text(source.replace("temperature: 0.5", 'temperature: "hot"'))
    # Both at once: TypeScript reads the types but once.
    checked = _deno(
        "check", "--cached-only", "--frozen", "use.ts", "wrong.ts", directory=typescript
    )
    assert checked.returncode == 1
    assert "temperature" in checked.stderr
    # Further in: where the type that was expected is declared.
    places = re.findall(r"(?m)^ {4}at file://\S+/([\w.]+):", checked.stderr)
    assert set(places) == {"wrong.ts"}
    ran = _deno(
        "run", "--cached-only", "--frozen", "--allow-net=127.0.0.1", "use.ts", stack.base_url,
        keys.alice, directory=typescript,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert (said["status"], said["code"]) == ("succeeded", "not_found")
    assert said["listed"] == [said["task_id"]]
    assert said["tokens"] > 0
