"""Brings database, demo content and assets up to date, in one process: Django's start is slow."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

from aily.process.start import begin_loading


def prepare(*, demo: bool, locked: bool = False) -> None:
    """Migrate, seed the demo content, collect the assets, warm the cache. It may be repeated.

    `locked`: the demo's users cannot log in until they are given a password. Without `demo`, as in
    a deployment, no users with known passwords are made, and assets of the version before stay, for
    pages that are open.
    """
    call_command("migrate", interactive=False, verbosity=1)
    if demo:
        call_command("seed_demo", locked=locked)
    collect_changed_assets(clear=demo)
    call_command("warm_cache")


def collect_changed_assets(*, clear: bool) -> None:
    """Run collectstatic unless the very same source files were collected before.

    It hashes and compresses every file, which takes longer than all the rest of a second start.
    """
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    fingerprint = _assets_fingerprint()
    if stamp.exists() and stamp.read_text() == fingerprint:
        return
    call_command("collectstatic", interactive=False, clear=clear, verbosity=0)
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
    # A migration may take longer than any request.
    os.environ.setdefault("DATABASE_ANSWER_SECONDS", "0")
    begin_loading()
    django.setup()
    prepare(demo="--without-demo" not in sys.argv[1:], locked="--locked" in sys.argv[1:])
