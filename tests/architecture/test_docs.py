"""The documents name what the code has: a variable, frame or code without words is a defect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from prometheus_client import REGISTRY

from aily import problems
from aily.launcher.programs import BASE_DIR
from aily.monitoring import services
from aily.observability import collector
from aily.observability.collector import Family
from chat import events, exceptions, frames
from chat.llm import errors
from chat.models import Status
from chat.models.transitions import WORKER_LOST
from chat.observability import gauges, metrics

PROTOCOL = (BASE_DIR / "chat" / "PROTOCOL.md").read_text()
DEPLOY = (BASE_DIR / "deploy" / "README.md").read_text()
METRICS = (BASE_DIR / "deploy" / "METRICS.md").read_text()
DOCUMENTS = (
    "deploy/METRICS.md",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "deploy/README.md",
    "chat/PROTOCOL.md",
)

#: Where the environment is read: `env.int("NAME"`, `_integer(environment, "NAME"`, and the like.
_READERS = (
    "aily/settings.py",
    "aily/launcher/programs.py",
    "chat/management/commands/seed_demo.py",
)
_READ = re.compile(
    r"""(?:env\.\w+|environ\.get|environment\.get|_redis_role_url|_integer)\(
        \s*(?:environment,\s*)?"([A-Z][A-Z0-9_]+)\"""",
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
    structs = [kind for kind in vars(events).values() if isinstance(kind, type)]
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


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    document = BASE_DIR / name
    text = document.read_text()
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    missing = [
        target for target in targets if "://" not in target and not _exists(document, target)
    ]
    assert missing == []


def _exists(document: Path, target: str) -> bool:
    return (document.parent / target).exists()
