"""The paths of OpenAI's API, and its application."""

from __future__ import annotations

from starlette.routing import Route

from aily.http.application import Application
from chat.openai.errors import error_response
from chat.openai.models import list_models

#: Everything under this path is answered by this application.
PREFIX = "/v1"

routes = [
    Route(f"{PREFIX}/models", list_models),
]

application = Application(routes, error_response)
