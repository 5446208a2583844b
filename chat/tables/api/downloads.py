"""Sends stored files, a piece at a time while the client takes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from urllib.parse import quote
from uuid import UUID

from django.http import StreamingHttpResponse

from accounts.authentication import AuthenticatedRequest
from accounts.lost_access import lost_access, while_accessible
from chat.models.files import stream_pieces


def download(
    request: AuthenticatedRequest, file_id: UUID, name: str, media_type: str
) -> StreamingHttpResponse:
    """The file as an attachment. No connection is held between two pieces."""
    return attachment(request, stream_pieces(file_id), name, media_type)


def attachment(
    request: AuthenticatedRequest, pieces: AsyncGenerator[bytes], name: str, media_type: str
) -> StreamingHttpResponse:
    """What is made of a file while it is sent. It ends with the access of its reader."""
    ascii_name = "".join(
        character if character.isascii() and character not in '"\\%' else "_" for character in name
    )
    disposition = f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name)}"
    headers = {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
    content = while_accessible(pieces, lost_access(request))
    return StreamingHttpResponse(content, content_type=media_type, headers=headers)
