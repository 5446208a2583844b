"""Frameworks for Python that speak OpenAI's API, in environments of their own
(tests/clients/python)."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
import venv
from importlib import resources
from pathlib import Path

import pytest
from django.conf import settings

from tests.clients.conftest import Installation

pytestmark = pytest.mark.slow

_SOURCES = Path(str(resources.files("tests.clients"))) / "python"
#: Each module of cases, and the lock of its environment.
_LOCKS = {
    "langchain_client": "frameworks",
    "agents_client": "frameworks",
    "pydantic_ai_client": "frameworks",
    "litellm_client": "frameworks",
    "instructor_client": "instructor",
}


def _cases(module: str) -> list[str]:
    tree = ast.parse((_SOURCES / f"{module}.py").read_text())
    functions = [
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [name for name in functions if not name.startswith("_")]


def _python(lock: str) -> Path:
    """The interpreter of the environment with the locked packages, installed once."""
    file = _SOURCES / f"{lock}.lock"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    directory = Path(settings.BASE_DIR) / "var" / "clients" / f"{lock}-{digest}"
    python = directory / "bin" / "python"
    if not (directory / "installed").exists():
        venv.create(directory, clear=True)
        uv = str(Path(sys.executable).with_name("uv"))
        install = [uv, "pip", "install", "--quiet", "--no-config", "--no-deps"]
        environment = ["--python", str(python), "--requirement", str(file)]
        subprocess.run([*install, *environment], check=True, timeout=240)
        (directory / "installed").touch()
    return python


@pytest.mark.parametrize(
    ("module", "case"), [(module, case) for module in _LOCKS for case in _cases(module)]
)
def test_python(module: str, case: str, installation: Installation) -> None:
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": installation.base_url,
        "OPENAI_API_KEY": installation.alice,
        "MODEL": "deepseek-flash",
        "EMBEDDING_MODEL": "simulated-embeddings",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    result = subprocess.run(
        [_python(_LOCKS[module]), "run.py", module, case],
        cwd=_SOURCES,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
