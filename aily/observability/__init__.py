"""Observability: metrics, logs and traces.

With PROMETHEUS_MULTIPROC_DIR set (by `make run`) the processes of one machine share their metrics
through files in it. prometheus_client reads the variable itself, and needs the directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from aily.environment.errors import refuse

MULTIPROC_DIR = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
if MULTIPROC_DIR:
    try:
        Path(MULTIPROC_DIR).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        refuse(f"PROMETHEUS_MULTIPROC_DIR must be a directory that can be made: {error}")
    # Only where it is needed, as it imports prometheus_client.
    from aily.observability.shared_files import use_allocated_files

    use_allocated_files()
