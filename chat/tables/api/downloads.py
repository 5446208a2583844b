"""Sends stored files, a piece at a time while the client takes them."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from django.http import StreamingHttpResponse

from chat.models.files import stream_pieces


def download(file_id: UUID, name: str, media_type: str) -> StreamingHttpResponse:
    """The file as an attachment. No connection is held between two pieces."""
    ascii_name = "".join(
        character if character.isascii() and character not in '"\\%' else "_" for character in name
    )
    disposition = f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name)}"
    headers = {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
    return StreamingHttpResponse(stream_pieces(file_id), content_type=media_type, headers=headers)
