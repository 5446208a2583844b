"""The environment that all settings are read from, and the folders that they name."""

from __future__ import annotations

import os
from pathlib import Path

from aily.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent.parent
env = Environment(os.environ)
DATA_DIR = env.path("AILY_DATA_DIR", default=BASE_DIR / "var")
GIBIBYTE = 2**30
