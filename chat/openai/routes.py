"""The paths of OpenAI's API, and its application."""

from __future__ import annotations

from starlette.routing import Route

from aily.http.application import Application
from chat.openai.chat_completions.endpoint import create_chat_completion
from chat.openai.errors import error_response
from chat.openai.models import list_models, retrieve_model

#: Everything under this path is answered by this application.
PREFIX = "/v1"

routes = [
    Route(f"{PREFIX}/models", list_models),
    # Names of models may have slashes.
    Route(f"{PREFIX}/models/{{model:path}}", retrieve_model),
    Route(f"{PREFIX}/chat/completions", create_chat_completion, methods=["POST"]),
]

application = Application(routes, error_response)
