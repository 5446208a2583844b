"""Who makes a change: the user of the request, and the tab that it comes from."""

from __future__ import annotations

from accounts.authentication import AuthenticatedRequest
from chat.tables.changes import Author

MAX_CLIENT_CHARS = 64


def author_of(request: AuthenticatedRequest, client: str) -> Author:
    """The tab is named by the body or query, or by the header X-Client-Id."""
    name = client or request.headers.get("X-Client-Id", "")[:MAX_CLIENT_CHARS]
    return Author(request.auth.user.pk, name)
