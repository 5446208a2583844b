"""The caller of a request to OpenAI's API: the owner of the API key that it presents."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from starlette.requests import Request

from accounts.access.limits import Requester
from accounts.bearer import KeyCaller, bearer_secret
from accounts.lost_access import lost_credentials
from aily.concurrency.signals import Signal
from aily.http.application import USER_ID
from chat.openai.errors import OpenAIError


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the owner of a key, and the key."""

    credentials: KeyCaller

    @property
    def owner_id(self) -> int:
        return self.credentials.owner_id

    @property
    def api_key_id(self) -> int:
        return self.credentials.key.pk

    @property
    def lane(self) -> str:
        """The key's lane of tasks whose request names none; empty: it has none."""
        return self.credentials.key.lane

    @property
    def requester(self) -> Requester:
        """For `Submission.uncounted`: the request is counted by the batch that accepts it."""
        return self.owner_id, self.credentials.key

    def lost_access(self) -> AbstractAsyncContextManager[Signal]:
        """Yield a signal that is set when the key is revoked or expires, or the user is disabled.

        For everything that lasts: streams, and waiting for a task's end.
        """
        return lost_credentials(self.credentials)


async def caller_of(request: Request) -> Caller:
    """Return the caller. Raises OpenAIError (401) without a key that works."""
    secret = bearer_secret(request.scope["headers"])
    if not secret:
        raise _refused("You sent no API key: Authorization: Bearer YOUR_KEY.")
    credentials = await KeyCaller.identify(secret)
    if credentials is None:
        raise _refused("This API key is unknown, revoked or expired.")
    request.scope[USER_ID] = credentials.owner_id
    return Caller(credentials)


def _refused(message: str) -> OpenAIError:
    return OpenAIError(401, message, code="invalid_api_key")
