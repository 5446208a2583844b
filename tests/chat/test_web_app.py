"""The web app's page: what its content security policy allows."""

from __future__ import annotations

import json
import re

from django.test import Client

from accounts.models import User


def test_only_the_app_may_make_a_style_element_and_by_its_own_nonce_alone(alice: User) -> None:
    client = Client()
    assert "nonce" not in client.get("/login/").headers["Content-Security-Policy"]
    client.force_login(alice)
    nonces = set()
    for _ in range(2):
        response = client.get("/")
        content = response.content.decode()
        data = re.search(r'id="page-data" type="application/json">(.+?)</script>', content)
        assert data is not None
        assets = json.loads(data[1])["table_assets"]
        nonces.add(assets["nonce"])
        policy = response.headers["Content-Security-Policy"]
        assert f"style-src 'self' 'nonce-{assets['nonce']}'" in policy
        assert "unsafe-inline" not in policy
        assert all("tables" in path or "slickgrid" in path for path in assets["styles"])
        # The grid's styles are loaded with its page.
        assert not any(f'href="{path}"' in content for path in assets["styles"])
    assert len(nonces) == 2
