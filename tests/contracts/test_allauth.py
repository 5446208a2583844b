"""What accounts.oidc relies on of django-allauth: `_get_state`. See docs/private-parts.md."""

from __future__ import annotations

import os
import subprocess
import sys

_OIDC = {"OIDC_ISSUER": "https://id.aily.example", "OIDC_CLIENT_ID": "aily"}


def test_a_callback_view_finds_its_state_by_one_method() -> None:
    """In a process of its own: only with an issuer is allauth installed."""
    code = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "aily.settings"
import django
django.setup()
import inspect
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
print(list(inspect.signature(OAuth2CallbackView._get_state).parameters))
print("state, resp = self._get_state(request, provider)" in inspect.getsource(OAuth2CallbackView))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **_OIDC},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["['self', 'request', 'provider']", "True"]
