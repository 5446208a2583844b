"""Which programs this machine has."""

from __future__ import annotations

import os
import shutil


def missing_programs(*programs: str) -> list[str]:
    """Those of them that are not installed. Debian keeps servers where only root looks."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return [name for name in programs if not shutil.which(name, path=path)]
