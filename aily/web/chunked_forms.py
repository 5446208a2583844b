"""Django's handler, for forms that come in chunks as well: Django reads none without a length."""

from __future__ import annotations

import os
from typing import IO, Any

from django.core.handlers.asgi import ASGIHandler, ASGIRequest


class MeasuredRequest(ASGIRequest):
    """A request that says how long its body is. It has been received when this is made."""

    def __init__(self, scope: dict[str, Any], body_file: IO[bytes]) -> None:
        super().__init__(scope, body_file)
        if "CONTENT_LENGTH" not in self.META:
            size = body_file.seek(0, os.SEEK_END)
            body_file.seek(0)
            if size:
                self.META["CONTENT_LENGTH"] = str(size)


class MeasuringHandler(ASGIHandler):
    request_class = MeasuredRequest
