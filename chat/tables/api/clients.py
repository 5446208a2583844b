"""The tab or program that a request comes from: undo takes back what it did."""

from __future__ import annotations

from accounts.authentication import AuthenticatedRequest
from chat.tables.changes import Author

HEADER = "X-Client-Id"
MAX_CLIENT_CHARS = 64


def author_of(request: AuthenticatedRequest, client: str = "") -> Author:
    """The user of the request, in the tab that its body or its header names."""
    named = client or request.headers.get(HEADER, "")[:MAX_CLIENT_CHARS]
    return Author(request.auth.user.pk, named)
