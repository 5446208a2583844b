"""The view of the OpenAPI document."""

from __future__ import annotations

import json
from threading import Lock

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.responses import NinjaJSONEncoder

from aily.rest.etags import etag_of


class Document:
    """The OpenAPI document, built on the first request, on a thread: it takes half a second."""

    def __init__(self, api: NinjaAPI) -> None:
        self._api = api
        self._lock = Lock()
        #: None until the first request.
        self._body: bytes | None = None
        self._etag = ""

    async def view(self, request: HttpRequest) -> HttpResponse:
        if self._body is None:
            # Requests that come meanwhile wait for the lock, on threads of the event loop's pool.
            await sync_to_async(self._build, thread_sensitive=False)()
        response = HttpResponse(self._body, content_type="application/json")
        response["ETag"] = self._etag
        return response

    def _build(self) -> None:
        with self._lock:
            if self._body is None:
                document = self._api.get_openapi_schema()
                body = json.dumps(document, cls=NinjaJSONEncoder).encode()
                self._etag = etag_of(body)
                self._body = body
