"""The environment's variables: read with their bounds, refused in one sentence.

Settings and the launcher read through `Environment`.
"""

from __future__ import annotations

from aily.environment.errors import ConfigurationError, refuse
from aily.environment.neighbours import refuse_mistyped_names
from aily.environment.reader import Environment

__all__ = ["ConfigurationError", "Environment", "refuse", "refuse_mistyped_names"]
