"""No file keeps the two sides of a merge: git's markers stand in prose and templates unnoticed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.catalogues import ROOT

#: Also of what only a part is left: the line between the sides, and that before the common origin.
_MARKER = re.compile(rb"^(?:<{7}|>{7}|\|{7}|={7}\r?$)", re.MULTILINE)


def _kept_files() -> Iterator[Path]:
    """What git would keep. It is not asked: an unpacked release has no repository."""
    ignored = (ROOT / ".gitignore").read_text().split()
    left_out = {".git"} | {line.strip("/") for line in ignored}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in left_out]
        paths = (Path(folder, name) for name in names)
        yield from (path for path in paths if path.is_file() and path.suffix != ".pyc")


def _lines_with_markers(content: bytes) -> list[int]:
    return [content.count(b"\n", 0, found.start()) + 1 for found in _MARKER.finditer(content)]


def test_no_file_has_the_markers_of_a_merge() -> None:
    paths = list(_kept_files())
    assert ROOT / "docs" / "decisions" / "batching.md" in paths
    assert ROOT / ".github" / "workflows" / "ci.yml" in paths
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in paths
        for line in _lines_with_markers(path.read_bytes())
    ]
    assert found == []


def test_the_search_finds_what_it_is_for() -> None:
    before, origin, between, after = (sign * 7 for sign in (b"<", b"|", b"=", b">"))
    content = b"kept\n%s HEAD\nours\n%s 1f2e\n%s\ntheirs\n%s topic\n"
    assert _lines_with_markers(content % (before, origin, between, after)) == [2, 4, 5, 7]
    assert _lines_with_markers(b"Heading\n========\n>>> 1 << 2\n    " + before) == []
