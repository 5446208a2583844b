"""Which models a provider offers: a question, not a call, and so asked with plain httpx."""

from __future__ import annotations

import httpx
import msgspec

from chat.llm.connections import tls_context
from chat.llm.errors import InvalidResponseError, UnreachableError
from chat.llm.types import Upstream
from chat.llm.vendor_errors import error_from_response

TIMEOUT_SECONDS = 10.0


class _Model(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Model]


def list_models(upstream: Upstream) -> list[str]:
    """Names, as OpenAI's `GET /models` gives them. Raises ProviderError."""
    headers = {"authorization": f"Bearer {upstream.api_key}"} if upstream.api_key else {}
    url = upstream.base_url.rstrip("/") + "/models"
    try:
        # As workers go: past the environment's proxies, and without following redirects.
        response = httpx.get(
            url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False, verify=tls_context()
        )
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise UnreachableError(f"no answer: {error}") from error
    if not response.is_success:
        raise error_from_response(
            response.status_code, response.headers, response.content, upstream.api_key
        )
    try:
        return [model.id for model in msgspec.json.decode(response.content, type=_List).data]
    except msgspec.DecodeError as error:
        raise InvalidResponseError(f"the list of models is none: {error}") from error
