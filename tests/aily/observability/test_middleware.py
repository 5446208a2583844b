"""Every response says which request it answers."""

from __future__ import annotations

import pytest
from django.test import AsyncClient


# --- X-Request-ID -------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/livez", "/no/such/page", "/static/none.css"])
async def test_every_response_has_the_callers_request_id(
    async_client: AsyncClient, path: str
) -> None:
    response = await async_client.get(path, headers={"X-Request-ID": "caller-1.2:3"})
    assert response["X-Request-ID"] == "caller-1.2:3"
