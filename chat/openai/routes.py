"""The paths of OpenAI's API, and its application."""

from __future__ import annotations

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import Route

from aily.http.application import Application
from chat.openai.chat_completions.endpoint import create_chat_completion
from chat.openai.embeddings import create_embeddings, max_body_bytes
from chat.openai.errors import error_response
from chat.openai.models import list_models, retrieve_model
from chat.openai.responses import endpoints as responses

#: Everything under this path is answered by this application.
PREFIX = "/v1"
EMBEDDINGS_PATH = f"{PREFIX}/embeddings"
_RESPONSES = f"{PREFIX}/responses"
_RESPONSE = f"{_RESPONSES}/{{response_id}}"


class _AnyName(StringConvertor):
    """A name that is not empty and may have slashes, such as a model's."""

    regex = ".+"


register_url_convertor("any_name", _AnyName())

routes = [
    Route(f"{PREFIX}/models", list_models),
    Route(f"{PREFIX}/models/{{model:any_name}}", retrieve_model),
    Route(f"{PREFIX}/chat/completions", create_chat_completion, methods=["POST"]),
    Route(EMBEDDINGS_PATH, create_embeddings, methods=["POST"]),
    Route(_RESPONSES, responses.create_response, methods=["POST"]),
    Route(f"{_RESPONSES}/input_tokens", responses.count_input_tokens, methods=["POST"]),
    Route(_RESPONSE, responses.retrieve_response),
    Route(_RESPONSE, responses.delete_stored_response, methods=["DELETE"]),
    Route(f"{_RESPONSE}/cancel", responses.cancel_response, methods=["POST"]),
    Route(f"{_RESPONSE}/input_items", responses.list_input_items),
]

#: Returns the largest body, by the paths on which that is more than elsewhere.
larger_bodies = {EMBEDDINGS_PATH: max_body_bytes}

application = Application(routes, error_response)
