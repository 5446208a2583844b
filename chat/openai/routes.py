"""The paths of OpenAI's API, and its application."""

from __future__ import annotations

from starlette.routing import Route

from aily.http.application import Application
from chat.openai.chat_completions.endpoint import create_chat_completion
from chat.openai.embeddings import create_embeddings, max_body_bytes
from chat.openai.errors import error_response
from chat.openai.models import list_models, retrieve_model

#: Everything under this path is answered by this application.
PREFIX = "/v1"
EMBEDDINGS_PATH = f"{PREFIX}/embeddings"

routes = [
    Route(f"{PREFIX}/models", list_models),
    # Names of models may have slashes.
    Route(f"{PREFIX}/models/{{model:path}}", retrieve_model),
    Route(f"{PREFIX}/chat/completions", create_chat_completion, methods=["POST"]),
    Route(EMBEDDINGS_PATH, create_embeddings, methods=["POST"]),
]

#: Returns the largest body, by the paths on which that is more than elsewhere.
larger_bodies = {EMBEDDINGS_PATH: max_body_bytes}

application = Application(routes, error_response)
