"""The ASGI servers, each run by `python -m`."""

from __future__ import annotations

import os

from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
# Imports the settings before anything else is, which end the process if a variable is wrong:
# django-ninja reads them through pydantic, which would make a traceback of it.
settings.DEBUG  # noqa: B018
