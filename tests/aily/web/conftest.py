"""Fixtures of the web process's tests."""

from __future__ import annotations

from tests.chat.conftest import loop_services as loop_services
from tests.chat.conftest import model as model
