"""Settings as another process would import them, with an environment of its own."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import aily
from aily.database.backend.connection import BoundedConnection

_PACKAGE = "aily.settings"


def import_settings() -> dict[str, Any]:
    """Import the settings by the environment as it is now, and return them.

    Those of this process stay as they are. Raises ConfigurationError.
    """
    own, answer_seconds = _forget(), BoundedConnection.answer_seconds
    try:
        return dict(vars(importlib.import_module(_PACKAGE)))
    finally:
        _forget()
        BoundedConnection.answer_seconds = answer_seconds
        sys.modules.update(own)
        if _PACKAGE in own:
            vars(aily)["settings"] = own[_PACKAGE]


def _forget() -> dict[str, Any]:
    """Remove the package and its modules from those that are imported, and return them."""
    names = [name for name in sys.modules if f"{name}.".startswith(f"{_PACKAGE}.")]
    return {name: sys.modules.pop(name) for name in names}
