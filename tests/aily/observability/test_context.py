"""The id of a request in its log lines."""

from __future__ import annotations

import pytest
from django.test import Client


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, "a\u00e9"])
def test_an_id_that_is_none_is_replaced(given: str) -> None:
    first = Client().get("/livez", headers={"X-Request-ID": given})["X-Request-ID"]
    second = Client().get("/livez", headers={"X-Request-ID": given})["X-Request-ID"]
    assert first != given
    assert first != second
    assert len(first) == 16
