"""The examples of README.md and docs/openai*.md, run as they are printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from aily.launcher.programs import BASE_DIR
from tests.clients.conftest import Installation

_PAGES = [BASE_DIR / "README.md", *sorted((BASE_DIR / "docs").glob("openai*.md"))]
#: Each page imports the SDK: a second of CPU. The SDK's tests call what the other pages do.
_QUICK = ("README.md", "openai.md")
#: A block that is indented by four spaces, with the blank lines in it.
_BLOCK = re.compile(r"(?:^    .*\n(?:\n(?=    ))?)+", re.MULTILINE)
#: What an example prints.
_PRINTED = {
    "README.md": "This is a *simulated* answer",
    "openai.md": "This is a *simulated* answer",
    "openai-responses.md": "This is a *simulated* answer",
    "openai-embeddings.md": "2 256 4",
    "openai-batches.md": '"custom_id":"r-1"',
}

_END = "-- end --\n"
#: Runs programs one after the other, each by itself: SDKs take a second of CPU to import.
_RUN = f"""
import json, sys
for program in json.load(sys.stdin):
    exec(compile(program, program, "exec"), {{"__name__": "__main__"}})
    print({_END!r}, end="", flush=True)
"""


def _blocks(page: Path) -> list[str]:
    return [dedent(block) for block in _BLOCK.findall(page.read_text())]


def _programs(page: Path) -> list[str]:
    """The page's programs. One that uses the client of an earlier one goes on from that."""
    programs: list[str] = []
    for block in _blocks(page):
        if "from openai import" in block:
            programs.append(block)
        elif block.startswith("client."):
            programs.append(f"{programs[0]}\n{block}")
    return programs


@pytest.mark.parametrize(
    "page",
    [
        page if page.name in _QUICK else pytest.param(page, marks=pytest.mark.slow)
        for page in _PAGES
    ],
    ids=lambda page: page.name,
)
def test_the_examples_of_a_page_work_as_printed(
    installation: Installation, tmp_path: Path, page: Path
) -> None:
    lines = [block for block in _blocks(page) if block.startswith('{"custom_id"')]
    (tmp_path / "requests.jsonl").write_text("".join(lines))
    programs = [
        re.sub(
            "YOUR_(AILY_)?KEY",
            installation.alice,
            program.replace("http://127.0.0.1:8000/v1", installation.base_url),
        )
        for program in _programs(page)
    ]
    assert programs
    result = subprocess.run(
        [sys.executable, "-c", _RUN],
        input=json.dumps(programs),
        cwd=tmp_path,
        env={**os.environ, "AILY_KEY": installation.alice},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    outputs = result.stdout.split(_END)[:-1]
    assert len(outputs) == len(programs)
    for program, output in zip(programs, outputs, strict=True):
        assert _PRINTED[page.name] in output.replace(": ", ":"), f"{program}\n{output}"
