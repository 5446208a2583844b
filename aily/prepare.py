"""Brings database and assets up to the code, in one process because Django's start costs most."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command


def prepare() -> None:
    """Migrate, seed the demo content and collect the assets. All of it may be repeated."""
    call_command("migrate", interactive=False, verbosity=1)
    call_command("seed_demo")
    collect_changed_assets()


def collect_changed_assets() -> None:
    """Run collectstatic unless the very same source files were collected before.

    It hashes and compresses every file, which takes longer than all the rest of a second start.
    """
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    fingerprint = _assets_fingerprint()
    if stamp.exists() and stamp.read_text() == fingerprint:
        return
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    stamp.write_text(fingerprint)


def _assets_fingerprint() -> str:
    """Names, sizes and times of all source files."""
    digest = hashlib.sha256()
    for path in _asset_sources():
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _asset_sources() -> Iterator[Path]:
    # Imported late: the finders read the settings' app list.
    from django.contrib.staticfiles.finders import get_finders

    for finder in get_finders():
        for name, storage in finder.list([]):
            yield Path(storage.path(name))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    django.setup()
    prepare()
