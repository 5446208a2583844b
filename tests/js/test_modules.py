"""The web app's modules: their tests that need no browser, under Deno, and the vendored ones."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from django.conf import settings

HERE = Path(__file__).parent
DENO = Path(sys.executable).with_name("deno")


def test_the_modules_pass_their_own_tests() -> None:
    """All in one process: its start takes longer than most of them."""
    modules = sorted(HERE.glob("*.test.mjs"))
    options = ["--quiet", "--no-check", "--no-remote", "--allow-read", f"--config={HERE}/deno.json"]
    environment = {**os.environ, "DENO_DIR": f"{settings.BASE_DIR}/var/deno", "NO_COLOR": "1"}
    result = subprocess.run(
        [DENO, "test", *options, *modules],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**environment, "DENO_NO_UPDATE_CHECK": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    ran = re.findall(r"^running \d+ tests? from \S*?([\w.]+)$", result.stdout, re.MULTILINE)
    assert ran == [module.name for module in modules]


def test_the_vendored_libraries_are_those_of_the_list() -> None:
    vendor = settings.BASE_DIR / "static" / "vendor"
    listed = re.findall(
        r"^\| `(.+\.js)` \| .+ \| `([0-9a-f]{64})` \|$",
        (vendor / "VERSIONS.md").read_text(),
        re.MULTILINE,
    )
    found = {
        path.relative_to(vendor).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in vendor.rglob("*.js")
    }
    assert dict(listed) == found
    for path in found:
        assert (vendor / path.split("/")[0] / "LICENSE").is_file()
