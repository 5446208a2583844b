"""Commands begin without loading what only the web needs."""

from __future__ import annotations

import pytest
from django.core.management import get_commands, load_command_class

OURS = sorted(name for name, app in get_commands().items() if app in ("aily", "accounts", "chat"))


@pytest.mark.parametrize("name", OURS)
def test_a_command_runs_no_system_checks(name: str) -> None:
    """Those of addresses load every view and schema."""
    assert not load_command_class(str(get_commands()[name]), name).requires_system_checks
