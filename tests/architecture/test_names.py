"""Names: a loop variable is the noun of what it runs over, and private verbs stay out."""

from __future__ import annotations

import re

from tests.catalogues import ROOT

_ONE = re.compile(r"\bfor (?:\w+, ?)*one\b(?:, ?\w+)* in\b")
#: Everyday verbs that once had private meanings here. A lease is renewed, text is flushed, waiters
#: are notified, a reader is marked lagging, and a class says what it is.
_PRIVATE = re.compile(
    r"^\s*(?:async )?(?:def|class) _?(?:tell|told|heard|hurry|doubt|stand|seal|land|lose|retold)\b",
    re.IGNORECASE | re.MULTILINE,
)


def test_no_loop_variable_is_called_one_and_no_function_by_a_private_verb() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0].strip()}"
        for package in ("accounts", "aily", "chat", "tests")
        for path in (ROOT / package).rglob("*.py")
        for pattern in (_ONE, _PRIVATE)
        for match in pattern.finditer(path.read_text())
    ]
    assert found == []


def test_the_search_finds_what_it_is_for() -> None:
    assert _ONE.search("[name for " + "name, one in rows]")
    assert not _ONE.search("[name for name, row in rows]")
    assert _PRIVATE.search("    async def tell(self) -> None:")
