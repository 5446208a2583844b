"""OpenAI's SDK for Node and Vercel's AI SDK, on Node 22, all from npm (tests/clients/node)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from django.conf import settings

from tests.clients.conftest import Installation

pytestmark = pytest.mark.slow

_SOURCES = Path(str(resources.files("tests.clients"))) / "node"
_CASE = re.compile(r"^export (?:async function|const) (\w+)", re.MULTILINE)


def _cases(file: str) -> list[str]:
    return _CASE.findall((_SOURCES / file).read_text())


@pytest.fixture(scope="module")
def directory() -> Path:
    """The cases beside the locked packages, which are installed once."""
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("npm is missing")
        pytest.skip("npm is missing: it installs Node 22 and the clients")
    digest = hashlib.sha256((_SOURCES / "package-lock.json").read_bytes()).hexdigest()[:12]
    directory = Path(settings.BASE_DIR) / "var" / "clients" / f"node-{digest}"
    shutil.copytree(_SOURCES, directory, dirs_exist_ok=True)
    installed = directory / "installed"
    if not installed.exists():
        npm = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=directory, check=True, timeout=240)
        installed.touch()
    return directory


@pytest.mark.parametrize(
    ("file", "case"),
    [(file, case) for file in ("openai.mjs", "vercel.mjs") for case in _cases(file)],
)
def test_node(file: str, case: str, directory: Path, installation: Installation) -> None:
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": installation.base_url,
        "OPENAI_API_KEY": installation.alice,
        "MODEL": "deepseek-flash",
        "EMBEDDING_MODEL": "simulated-embeddings",
        "NODE_OPTIONS": "",
    }
    node = directory / "node_modules" / "node" / "bin" / "node"
    result = subprocess.run(
        [node, "run.mjs", file, case],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
