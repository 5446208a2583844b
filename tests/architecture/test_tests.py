"""The house rules of the tests: where they are, what they import, how they wait."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aily.launcher.programs import BASE_DIR
from tests import distribution_plugin

TESTS = BASE_DIR / "tests"
#: Programs that measure and break an installation; they keep a pace of their own.
_PROGRAMS = ("load", "chaos")

#: Modules of `aily/` without a test file of their own, and the test that goes through them.
_TESTED_BY = {
    "aily/admin/audit_log.py": "tests/accounts/test_audit.py",
    "aily/admin/deletion.py": "tests/chat/test_admin.py",
    "aily/admin/site.py": "tests/chat/test_admin.py",
    "aily/apps.py": "tests/aily/redis/test_broker.py",
    "aily/asgi.py": "tests/e2e/test_edges.py",
    "aily/cache/keys.py": "tests/aily/cache/test_values.py",
    "aily/cache/warming.py": "tests/aily/management/commands/test_warm_cache.py",
    "aily/database/backend/base.py": "tests/aily/database/test_outages.py",
    "aily/database/backend/connection.py": "tests/aily/database/test_outages.py",
    "aily/database/backend/probe.py": "tests/aily/environment/test_errors.py",
    "aily/database/command_outages.py": "tests/aily/environment/test_errors.py",
    "aily/database/keys.py": "tests/e2e/test_replica.py",
    "aily/database/replica.py": "tests/e2e/test_replica.py",
    "aily/embedded/unprivileged.py": "tests/aily/embedded/test_postgres.py",
    "aily/environment/addresses.py": "tests/aily/environment/test_reader.py",
    "aily/environment/launcher.py": "tests/aily/environment/test_reader.py",
    "aily/environment/neighbours.py": "tests/aily/environment/test_reader.py",
    "aily/exporter.py": "tests/e2e/test_metrics.py",
    "aily/formats/en/formats.py": "tests/chat/test_task_admin.py",
    "aily/formats/zh_Hans/formats.py": "tests/chat/test_task_admin.py",
    "aily/demo_mcp_server/__main__.py": "tests/aily/demo_mcp_server/test_tools.py",
    "aily/http/bodies.py": "tests/aily/http/test_application.py",
    "aily/http/errors.py": "tests/aily/http/test_application.py",
    "aily/http/exchange.py": "tests/aily/http/test_application.py",
    "aily/http/security.py": "tests/aily/http/test_application.py",
    "aily/launcher/__main__.py": "tests/aily/launcher/test_launch.py",
    "aily/launcher/errors.py": "tests/aily/launcher/test_launch.py",
    "aily/launcher/preconditions.py": "tests/aily/launcher/test_launch.py",
    "aily/launcher/prepare.py": "tests/aily/launcher/test_launch.py",
    "aily/launcher/readiness.py": "tests/aily/launcher/test_launch.py",
    "aily/launcher/scaling.py": "tests/aily/launcher/test_launch.py",
    "aily/management/commands/scale.py": "tests/aily/launcher/test_launch.py",
    "aily/process/disk.py": "tests/aily/database/test_outages.py",
    "aily/process/exit_codes.py": "tests/aily/launcher/test_launch.py",
    "aily/launcher/stop_request.py": "tests/aily/launcher/test_launch.py",
    "aily/monitoring/process.py": "tests/e2e/test_metrics.py",
    "aily/monitoring/pulse.py": "tests/e2e/test_metrics.py",
    "aily/monitoring/services.py": "tests/aily/observability/test_collector.py",
    "aily/observability/otel.py": "tests/chat/observability/test_tracing.py",
    "aily/observability/tracing.py": "tests/chat/observability/test_tracing.py",
    "aily/redis/guarded.py": "tests/aily/redis/test_clients.py",
    "aily/redis/keys.py": "tests/aily/redis/test_rates.py",
    "aily/rest/etags.py": "tests/chat/api/test_etags.py",
    "aily/rest/writes.py": "tests/chat/api/test_scenes.py",
    "aily/rest/pages.py": "tests/chat/api/test_sizes.py",
    "aily/routing.py": "tests/e2e/test_edges.py",
    "aily/simulator.py": "tests/chat/llm/test_simulate_llm_command.py",
    "aily/urls.py": "tests/aily/rest/test_api.py",
    "aily/web/chunked_forms.py": "tests/clients/test_transport.py",
    "aily/web/checks.py": "tests/aily/web/test_middleware.py",
    "aily/web/access_revocation.py": "tests/e2e/test_access.py",
    "aily/web/servers/daphne.py": "tests/e2e/test_edges.py",
    "aily/web/servers/daphne_server.py": "tests/e2e/test_edges.py",
    "aily/web/servers/uvicorn.py": "tests/e2e/test_web_server.py",
    "aily/web/shutdown.py": "tests/e2e/test_web_server.py",
    "aily/worker.py": "tests/e2e/test_workers.py",
}
# Every variable of theirs is read with right and wrong values there.
_TESTED_BY |= {
    str(path.relative_to(BASE_DIR)): "tests/aily/environment/test_reader.py"
    for path in (BASE_DIR / "aily" / "settings").glob("[!_]*.py")
}
#: Directories about one thing that several modules do.
_OF_SEVERAL_MODULES = {Path("chat/api/history")}
#: Loops that work at a pace of their own, and wait for nothing.
_PACED = {
    ("chat/llm/test_floods.py", "measure"),
    ("chat/scheduler/test_ready.py", "work"),
    ("chat/services/test_pieces.py", "test_a_log_that_was_lost_begins_anew_in_pieces"),
    ("deploy/rolling.py", "submit_steadily"),
    ("e2e/test_deployments.py", "sample"),
    ("e2e/test_logins.py", "latencies"),
}


def _python_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if path.name != "__init__.py")


def _test_file_of(module: Path) -> Path:
    relative = module.relative_to(BASE_DIR)
    return TESTS / relative.parent / f"test_{relative.name}"


def test_each_module_of_aily_has_a_test_file_of_its_own_or_is_named_with_the_one_it_has() -> None:
    without = {
        str(module.relative_to(BASE_DIR))
        for module in _python_files(BASE_DIR / "aily")
        if not _test_file_of(module).exists()
    }
    assert sorted(without - _TESTED_BY.keys()) == []
    assert sorted(_TESTED_BY.keys() - without) == [], "no longer needed here"
    assert [file for file in _TESTED_BY.values() if not (BASE_DIR / file).exists()] == []


def test_each_test_file_of_aily_is_named_as_its_module() -> None:
    files = (TESTS / "aily").rglob("test_*.py")
    modules = [BASE_DIR / file.parent.relative_to(TESTS) / file.name[5:] for file in files]
    assert len(modules) > 30
    assert [module for module in modules if not module.exists()] == []


@pytest.mark.parametrize("package", ["aily", "accounts", "chat"])
def test_the_directories_of_the_tests_are_those_of_the_code(package: str) -> None:
    tested = {file.parent.relative_to(TESTS) for file in (TESTS / package).rglob("test_*.py")}
    tested -= _OF_SEVERAL_MODULES
    assert [directory for directory in tested if not (BASE_DIR / directory).is_dir()] == []


def test_no_test_module_is_imported() -> None:
    """Helpers of several are modules of their own, or fixtures of a conftest.py."""
    importing = re.compile(r"(from|import) tests\.[\w.]*\btest_\w+")
    found = [
        f"{file.relative_to(TESTS)}: {match[0]}"
        for file in _python_files(TESTS)
        for match in importing.finditer(file.read_text())
    ]
    assert found == []


def test_the_order_of_the_tests_names_files_that_are_there() -> None:
    """A slow file that has moved would begin last, and the run would wait for it."""
    named = {
        *distribution_plugin._SLOWEST_FIRST,
        *distribution_plugin._WAITING,
        *distribution_plugin._INSTALLATIONS,
        *(name for group in distribution_plugin._GROUPS for name in group),
    }
    assert [name for name in named if not (BASE_DIR / name).exists()] == []


# --- Waiting ------------------------------------------------------------------------------------
def _loops(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.While]]:
    """All `while` loops, each with the name of the function that it is in."""
    for node in ast.iter_child_nodes(tree):
        name = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.While):
            yield name, node
        yield from _loops(node, name)


def _called(tree: ast.AST) -> set[str]:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {getattr(call, "attr", getattr(call, "id", "")) for call in calls}


def _asks_again(loop: ast.While) -> bool:
    """A loop that sleeps, or does nothing until its condition changes by itself."""
    if "sleep" in _called(loop):
        return True
    does_nothing = all(isinstance(statement, ast.Pass | ast.Assert) for statement in loop.body)
    # What receives, waits until something comes.
    receives = any(name.startswith(("recv", "receive", "anext", "read")) for name in _called(loop))
    return does_nothing and not receives


def asking_again(source: str) -> list[str]:
    """The functions with such loops."""
    return [name for name, loop in _loops(ast.parse(source)) if _asks_again(loop)]


@pytest.mark.parametrize(
    "loop",
    [
        "while not done(): time.sleep(0.01)",
        "while True:\n    if done(): break\n    await asyncio.sleep(0)",
        "while not await done(): pass",
        "while not done(): assert time.monotonic() < deadline",
    ],
)
def test_a_loop_that_asks_again_is_found(loop: str) -> None:
    body = loop.replace("\n", "\n    ")
    assert asking_again(f"async def wait():\n    {body}") == ["wait"]


@pytest.mark.parametrize(
    "loop",
    [
        "while (await socket.receive()) != 'pong': pass",
        "while piece := await reader.read(): writer.write(piece)",
        "while items := page(): total += len(items)",
    ],
)
def test_a_loop_that_is_told_is_not(loop: str) -> None:
    assert asking_again(f"async def read():\n    {loop}") == []


def test_waiting_is_done_in_one_place_and_has_a_deadline() -> None:
    """Polling is done by tests/waiting.py alone."""
    found = {
        (str(file.relative_to(TESTS)), function)
        for file in _python_files(TESTS)
        if file.relative_to(TESTS).parts[0] not in _PROGRAMS
        for function in asking_again(file.read_text())
    }
    allowed = {("waiting.py", name) for name in ("wait_until", "until", "eventually")}
    assert found - allowed == _PACED


# --- Limits -------------------------------------------------------------------------------------
#: Calls that end a wait: their last argument, or `timeout`, is in seconds.
_LIMITED = {"acquire", "communicate", "join", "result", "timeout", "wait", "wait_for"}
_LIMITED |= {"wait_until", "until", "eventually", "receive_from", "receive_json_from"}
#: What is to be hit is shorter, what should succeed has longer on a machine with other work to do.
_SHORTEST_SECONDS, _LONG_SECONDS = 1, 10


#: Their clients and functions wait for 5 s by default.
_IMPATIENT = {"httpx", "httpx2"}
_REQUESTS = {"AsyncClient", "Client", "delete", "get", "patch", "post", "put", "stream"}


def short_limits(source: str) -> list[int]:
    """The lines of calls that give up after some seconds."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if _is_short(call)]


def _is_short(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    limits = [word.value for word in call.keywords if word.arg in ("timeout", "seconds")]
    limits += call.args[-1:]
    if getattr(getattr(call.func, "value", None), "id", "") in _IMPATIENT:
        keywords = {word.arg for word in call.keywords}
        return name in _REQUESTS and keywords.isdisjoint({"timeout", None})
    return name in _LIMITED and any(
        isinstance(limit, ast.Constant)
        and isinstance(limit.value, int | float)
        and _SHORTEST_SECONDS <= limit.value < _LONG_SECONDS
        for limit in limits
    )


@pytest.mark.parametrize(
    ("call", "is_short"),
    [
        ("asyncio.timeout(5)", True),
        ("asyncio.wait_for(work(), 2)", True),
        ("thread.join(timeout=9.5)", True),
        ('wait_until(is_there, "it", 1)', True),
        ("httpx.get(url)", True),
        ("httpx.AsyncClient(timeout=20)", False),
        ("asyncio.timeout(0.05)", False),
        ("process.wait(30)", False),
        ('", ".join(words)', False),
        ("is_set.wait()", False),
    ],
)
def test_a_short_limit_is_found(call: str, is_short: bool) -> None:
    assert bool(short_limits(call)) == is_short


def test_nothing_gives_up_after_a_few_seconds() -> None:
    """CI's two cores run five processes of tests: what takes a moment here takes seconds there."""
    found = [
        f"{file.relative_to(TESTS)}:{line}"
        for file in _python_files(TESTS)
        if file.relative_to(TESTS).parts[0] not in _PROGRAMS
        for line in short_limits(file.read_text())
    ]
    assert found == []


# --- Loops over what may grow ---------------------------------------------------------------------
def live_loops(source: str) -> list[int]:
    """The lines of loops that wait in their body, over a dict or an attribute and no copy of it: a
    reader's task or a handler may change it meanwhile."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.For) and _is_live(node.iter) and any(map(_waits, node.body))
    ]


def _is_live(iterated: ast.expr) -> bool:
    if isinstance(iterated, ast.Call) and isinstance(iterated.func, ast.Attribute):
        collection = iterated.func.value
        return iterated.func.attr in ("items", "keys", "values") and not _is_constant(collection)
    return isinstance(iterated, ast.Attribute) and not isinstance(iterated.value, ast.Await)


def _is_constant(collection: ast.expr) -> bool:
    return isinstance(collection, ast.Dict) or getattr(collection, "id", "").isupper()


def _waits(statement: ast.AST) -> bool:
    waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    return any(isinstance(node, waits) for node in ast.walk(statement))


@pytest.mark.parametrize(
    ("loop", "is_live"),
    [
        ("for task_id in socket.tasks:\n    await rest.task(task_id)", True),
        ("for name, task in tasks.items():\n    async with task: pass", True),
        ("for task_id in list(socket.tasks):\n    await rest.task(task_id)", False),
        ("for name, task in sorted(tasks.items()):\n    await task", False),
        ("for name, case in CASES.items():\n    await case()", False),
        ("for task_id in (await claim()).task_ids:\n    await rest.task(task_id)", False),
        ("for task in socket.tasks.values():\n    task.check_ids()", False),
    ],
)
def test_a_loop_over_what_may_grow_is_found(loop: str, is_live: bool) -> None:
    body = loop.replace("\n", "\n    ")
    assert bool(live_loops(f"async def read():\n    {body}")) == is_live


def test_what_may_grow_is_copied_before_a_loop_that_waits() -> None:
    found = [
        f"{file.relative_to(TESTS)}:{line}"
        for file in _python_files(TESTS)
        for line in live_loops(file.read_text())
    ]
    assert found == []
