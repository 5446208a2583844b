"""Django's deployment checks, for middlewares that are subclasses of Django's.

`manage.py check --deploy` looks for Django's own dotted names in MIDDLEWARE: without them it would
check neither HSTS nor secure cookies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, register
from django.core.checks.registry import registry
from django.utils.module_loading import import_string

from aily.web.middleware import OnLoop

_DJANGOS = "django.core.checks.security."


@register(Tags.security, deploy=True)
def check_security(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Run Django's security checks as if MIDDLEWARE named the base classes. Returns what they find
    in addition."""
    # Not needed by any process that serves.
    from django.test.utils import override_settings

    found = _run_djangos(app_configs, **options)
    with override_settings(MIDDLEWARE=[_base_name(path) for path in settings.MIDDLEWARE]):
        with_bases = _run_djangos(app_configs, **options)
    return [message for message in with_bases if message not in found]


def _run_djangos(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    checks = [
        check for check in registry.deployment_checks if check.__module__.startswith(_DJANGOS)
    ]
    return [message for check in checks for message in check(app_configs=app_configs, **options)]


def _base_name(path: str) -> str:
    """The dotted name of the middleware that this one is made of."""
    middleware = import_string(path)
    if not (isinstance(middleware, type) and issubclass(middleware, OnLoop)):
        return path
    base = middleware.__bases__[-1]
    return f"{base.__module__}.{base.__qualname__}"
