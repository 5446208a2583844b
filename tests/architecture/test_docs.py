"""The documents name what the code has: a variable, frame or code without words is a defect."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import msgspec
import pytest
from django.core.management import get_commands, load_command_class
from prometheus_client import REGISTRY

from aily import problems
from aily.launcher.programs import BASE_DIR
from aily.monitoring import services
from aily.observability import collector
from aily.observability.collector import Family
from aily.urls import api
from chat import events, exceptions, frames
from chat.llm import errors
from chat.models import Status
from chat.models.transitions import WORKER_LOST
from chat.observability import gauges, metrics

PROTOCOL = (BASE_DIR / "chat" / "PROTOCOL.md").read_text()
DEPLOY = (BASE_DIR / "deploy" / "README.md").read_text()
METRICS = (BASE_DIR / "deploy" / "METRICS.md").read_text()
#: Every document but licences and the notes of vendored files.
DOCUMENTS = tuple(
    sorted(
        str(path.relative_to(BASE_DIR))
        for pattern in ("*.md", "chat/*.md", "deploy/*.md", "docs/**/*.md")
        for path in BASE_DIR.glob(pattern)
    )
)
#: Names of what was renamed stay in the entries of older versions.
_UNDATED = tuple(name for name in DOCUMENTS if name != "CHANGELOG.md")
_PATH = re.compile(r"`((?:accounts|aily|chat|deploy|docs|static|tests)/[\w./-]+)`")
#: Written by an operator, not kept in the repository.
_NOT_KEPT = frozenset({"deploy/.env"})
_STARTED = re.compile(r"python -m ((?:aily|tests)(?:\.[a-z_0-9]+)+)")

#: Where the environment is read: `env.int("NAME"`, `_integer(environment, "NAME"`, and the like.
_READERS = (
    *(f"aily/settings/{path.name}" for path in (BASE_DIR / "aily/settings").glob("*.py")),
    "aily/launcher/programs.py",
    "aily/environment/launcher.py",
    "chat/management/commands/seed_demo.py",
)
_READ = re.compile(
    r"""(?:env\.\w+|environ\.get|_redis_role_url)\(
        \s*"([A-Z][A-Z0-9_]+)\"""",
    re.VERBOSE,
)


#: Where files of deploy/ take their values from the environment.
_FILLED_IN = (
    "deploy/compose.yaml",
    "deploy/nginx/templates/aily.conf.template",
    "deploy/pgbouncer/pgbouncer.ini.template",
    "deploy/pgbouncer/userlist.txt.template",
)
_FILLED = re.compile(r"\$\{([A-Z][A-Z0-9_]+)")


def _variables() -> set[str]:
    sources = [(BASE_DIR / name).read_text() for name in _READERS]
    filled_in = [(BASE_DIR / name).read_text() for name in _FILLED_IN]
    return {name for source in sources for name in _READ.findall(source)} | {
        name for source in filled_in for name in _FILLED.findall(source)
    }


def _first_cells(document: str) -> set[str]:
    """Every `name` in the first column of a table."""
    rows = [line.split("|")[1] for line in document.splitlines() if line.startswith("|")]
    return {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}


def _subclasses(kind: Any) -> Iterator[Any]:
    """But for those that tests have made, which live until the garbage is collected."""
    for subclass in kind.__subclasses__():
        if not subclass.__module__.startswith("tests."):
            yield subclass
            yield from _subclasses(subclass)


def _frame_types() -> set[str]:
    structs = [value for value in vars(events).values() if isinstance(value, type)]
    sent = {
        str(struct.__struct_config__.tag)
        for struct in structs
        if issubclass(struct, msgspec.Struct) and struct not in (msgspec.Struct, events.Event)
        # What is a part of frames has none.
        if struct.__struct_config__.tag is not None
    }
    read = {get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(frames.Frame)}
    return sent | read


def _codes() -> set[str]:
    assert exceptions.ConversationBusy in set(_subclasses(problems.Problem))
    kinds = [*_subclasses(problems.Problem), errors.ProviderError]
    kinds += _subclasses(errors.ProviderError)
    return {kind.code for kind in kinds} | {WORKER_LOST["code"], "internal"}


def test_the_reading_of_the_code_finds_what_it_must() -> None:
    assert {"PORT", "DATABASE_URL", "CACHE_URL", "DEEPSEEK_API_KEY"} <= _variables()
    assert {"task.submit", "ping", "hello", "task.delta", "pong"} <= _frame_types()
    assert {"not_found", "conversation_busy", "provider_empty"} <= _codes()


def test_every_environment_variable_is_documented_and_no_other() -> None:
    documented = {name for name in _first_cells(DEPLOY) if re.fullmatch(r"[A-Z][A-Z0-9_]+", name)}
    assert documented == _variables()


def test_documented_numbers_are_the_defaults_of_the_code() -> None:
    source = "".join((BASE_DIR / name).read_text() for name in _READERS)
    pattern = r'env\.\w+\(\s*"([A-Z0-9_]+)"[^)]*?default=([\d_.]+)[,)\n]'
    defaults = {name: float(number) for name, number in re.findall(pattern, source)}
    rows = re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \| ([\d.]+) \|", DEPLOY, re.MULTILINE)
    documented = {name: float(number) for name, number in rows if name in defaults}
    assert len(documented) > 50
    assert documented == {name: defaults[name] for name in documented}


def test_every_frame_is_documented() -> None:
    assert _frame_types() - _first_cells(PROTOCOL) == set()


def test_every_error_code_is_documented_and_no_other() -> None:
    documented = _first_cells(PROTOCOL)
    assert _codes() - documented == set()
    assert {name for name in documented if name.startswith("provider_")} <= _codes()


def test_every_task_state_is_documented() -> None:
    assert set(Status.values) - _first_cells(PROTOCOL) == set()


def _metrics() -> set[str]:
    """What the processes have registered, and what the exporter's questions may tell."""
    counted = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in REGISTRY.collect()
    }
    modules = (collector, services, gauges, metrics)
    asked = [value for module in modules for value in vars(module).values()]
    asked += services.INFO.values()
    return {name for name in counted if name.startswith(("aily_", "gen_ai_"))} | {
        family.name for family in asked if isinstance(family, Family)
    }


def test_every_metric_is_documented_and_no_other() -> None:
    assert {"aily_tasks_submitted_total", "aily_up", "aily_queue_depth"} <= _metrics()
    assert _first_cells(METRICS) == _metrics()


# One test for all documents: a test of each would be a tenth of the whole suite's tests.
def test_links_between_documents_lead_somewhere() -> None:
    assert [found for name in DOCUMENTS for found in _dead_links(name)] == []


def _dead_links(name: str) -> list[tuple[str, str]]:
    document = BASE_DIR / name
    text = document.read_text()
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    return [
        (name, target)
        for target in targets
        if "://" not in target and not (document.parent / target).exists()
    ]


def test_paths_and_modules_in_documents_exist() -> None:
    assert [found for name in _UNDATED for found in _missing_files(name)] == []


def _missing_files(name: str) -> list[tuple[str, str]]:
    text = (BASE_DIR / name).read_text()
    paths = set(_PATH.findall(text)) - _NOT_KEPT
    missing = [path for path in paths if not (BASE_DIR / path).exists()]
    missing += [module for module in _STARTED.findall(text) if not _is_module(module)]
    return [(name, path) for path in missing]


def _is_module(name: str) -> bool:
    path = BASE_DIR.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


#: A path of the API, with the method where one precedes it. Not of other services.
_CALL = re.compile(r"(?:(GET|POST|PUT|PATCH|DELETE) )?(?<![\w./])(/api/[\w/{}<>:.$@-]*\w)")
#: Not of the API itself, or parts of sentences about several paths.
_NO_OPERATIONS = frozenset({"/api/docs", "/api/openapi.json", "/api/llmchat", "/api/v1"})
_COMMAND = re.compile(r"manage\.py ([a-z_]+(?:-[a-z]+)*)([^`\n]*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


@pytest.fixture(scope="module")
def operations() -> set[tuple[str, str]]:
    """Method and path of each operation; `*` in place of a parameter."""
    paths = json.loads(json.dumps(api.get_openapi_schema(), default=str))["paths"]
    return {
        (method.upper(), re.sub(r"{[^}]*}", "*", path))
        for path, methods in paths.items()
        for method in methods
    }


def _is_operation(method: str, written: str, operations: set[tuple[str, str]]) -> bool:
    path = re.sub(r"{[^}]*}|<[^>]*>|\$\w+", "*", written)
    for known_method, known in operations:
        pattern = re.escape(known).replace(r"\*", "[^/:]+")
        if method in ("", known_method) and re.fullmatch(pattern, path):
            return True
    return False


def test_calls_in_documents_exist(operations: set[tuple[str, str]]) -> None:
    wrong = [
        (name, method, path)
        for name in _UNDATED
        for method, path in _CALL.findall((BASE_DIR / name).read_text())
        if path not in _NO_OPERATIONS and not _is_operation(method, path, operations)
    ]
    assert wrong == []


def test_commands_in_documents_exist_with_their_options() -> None:
    wrong = [
        (name, wrong)
        for name in _UNDATED
        for command, arguments in _COMMAND.findall((BASE_DIR / name).read_text())
        for wrong in _not_in_command(command, arguments)
    ]
    assert wrong == []


def _not_in_command(written: str, arguments: str) -> list[str]:
    """The command, if there is none, or those of its options that it does not have."""
    options = _options_of(written.replace("-", "_"))
    if options is None:
        return [written]
    return [f"{written} {given}" for given in _OPTION.findall(arguments) if given not in options]


@cache
def _options_of(command: str) -> set[str] | None:
    commands = get_commands()
    if command not in commands:
        return None
    parser = load_command_class(commands[command], command).create_parser("", command)
    return {option for action in parser._actions for option in action.option_strings}


def test_targets_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (BASE_DIR / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for name in _UNDATED
        for target in re.findall(r"`(?:\w+=\S+ )?make ([a-z-]+)", (BASE_DIR / name).read_text())
    }
    assert {"run", "test"} <= named <= targets


def test_the_architecture_is_read_in_a_few_minutes() -> None:
    words = (BASE_DIR / "ARCHITECTURE.md").read_text().split()
    assert len(words) <= 1500


def test_every_decision_is_in_the_index_and_has_its_parts() -> None:
    folder = BASE_DIR / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    decisions = [path for path in folder.glob("*.md") if path.name != "README.md"]
    assert len(decisions) > 50
    for path in decisions:
        assert f"({path.name})" in index
        text = path.read_text()
        assert [part for part in ("**Context.**", "**Decision.**") if part not in text] == []
