"""The paths of OpenAI's API, and its application."""

from __future__ import annotations

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import Route

from aily.http.application import Application
from chat.openai.batches import endpoints as batches
from chat.openai.chat_completions.endpoint import create_chat_completion
from chat.openai.embeddings import create_embeddings, max_body_bytes
from chat.openai.errors import error_response
from chat.openai.files import endpoints as files
from chat.openai.models import list_models, retrieve_model
from chat.openai.responses import endpoints as responses

#: Everything under this path is answered by this application.
PREFIX = "/v1"
EMBEDDINGS_PATH = f"{PREFIX}/embeddings"
_RESPONSES = f"{PREFIX}/responses"
#: Of the WebSocket as well, which takes API keys alone.
SOCKET_PATH = _RESPONSES
_RESPONSE = f"{_RESPONSES}/{{response_id}}"
_FILES = f"{PREFIX}/files"
_FILE = f"{_FILES}/{{file_id}}"
_BATCHES = f"{PREFIX}/batches"


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
    Route(_FILES, files.create_file, methods=["POST"]),
    Route(_FILES, files.list_files),
    Route(_FILE, files.retrieve_file),
    Route(_FILE, files.delete_stored_file, methods=["DELETE"]),
    Route(f"{_FILE}/content", files.retrieve_content),
    Route(_BATCHES, batches.create, methods=["POST"]),
    Route(_BATCHES, batches.list_batches),
    Route(f"{_BATCHES}/{{batch_id}}", batches.retrieve),
    Route(f"{_BATCHES}/{{batch_id}}/cancel", batches.cancel, methods=["POST"]),
]

#: Returns the largest body, by the paths on which that is more than elsewhere.
larger_bodies = {EMBEDDINGS_PATH: max_body_bytes}

application = Application(routes, error_response)
