"""Observability: metrics, logs and traces.

With PROMETHEUS_MULTIPROC_DIR set (by `make run`) the processes of one machine share their metrics
through files in it. prometheus_client reads the variable itself, and needs the directory.
"""

from __future__ import annotations

import os
from pathlib import Path

MULTIPROC_DIR = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
if MULTIPROC_DIR:
    Path(MULTIPROC_DIR).mkdir(mode=0o700, parents=True, exist_ok=True)
