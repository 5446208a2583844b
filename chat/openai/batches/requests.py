"""A line's body becomes the request of a task, as its endpoint would make it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from aily.problems import Problem
from aily.rest.json_input import decode_json
from chat.openai import embeddings
from chat.openai.chat_completions.body import read_request_now
from chat.openai.errors import OpenAIError
from chat.openai.requests import unsupported
from chat.openai.responses.creation import named_as_sent, prepare
from chat.openai.responses.fields import read_call
from chat.services.submission import TaskRequest

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"

#: Fields of aily's that make no sense in many requests at once.
_ALONE = ("conversation_id", "replaces", "webhook")


class LineRefused(Problem):
    """Carries the error of a line's body through the engine of runs."""

    def __init__(self, error: OpenAIError) -> None:
        super().__init__(error.message, field=error.param)
        self.error = error


def request_of(endpoint: str, owner_id: int, body: str) -> TaskRequest:
    """The request of a line. Raises LineRefused, and other Problems."""
    given = decode_json(body)
    try:
        _refuse_alone(given)
        return _READERS[endpoint](given, owner_id)
    except OpenAIError as error:
        raise LineRefused(error) from None


def error_of(endpoint: str, problem: Problem) -> OpenAIError:
    """The error that the endpoint would answer with."""
    if isinstance(problem, LineRefused):
        return problem.error
    return named_as_sent(problem) if endpoint == RESPONSES else OpenAIError.of(problem)


def _refuse_alone(given: object) -> None:
    for name in _ALONE:
        if isinstance(given, dict) and given.get(name) is not None:
            raise unsupported("A line of a batch cannot have this.", name)


def _chat(body: object, owner_id: int) -> TaskRequest:
    task, form = read_request_now(body, {})
    if form.is_stream:
        raise unsupported("Answers of a batch are not streamed.", "stream")
    return task


def _response(body: object, owner_id: int) -> TaskRequest:
    call = read_call(body, {})
    if call.is_streamed or call.is_background:
        name = "stream" if call.is_streamed else "background"
        raise unsupported("The responses of a batch are whole, and come in its file.", name)
    # On an event loop, as what it refers to is looked up for sockets as well.
    return asyncio.run(prepare(call, owner_id)).request


def _embeddings(body: object, owner_id: int) -> TaskRequest:
    return embeddings.read_call(body, {}).task


_READERS: dict[str, Callable[[object, int], TaskRequest]] = {
    CHAT: _chat,
    RESPONSES: _response,
    EMBEDDINGS: _embeddings,
}


def check_endpoint(endpoint: object) -> str:
    """Raises OpenAIError unless there are batches for the endpoint."""
    if not isinstance(endpoint, str) or endpoint not in _READERS:
        message = f"There are batches for {', '.join(_READERS)}."
        raise OpenAIError(HTTPStatus.BAD_REQUEST, message, param="endpoint", code="invalid_value")
    return endpoint
