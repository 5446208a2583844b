"""The operations of the REST API, by its OpenAPI document."""

from __future__ import annotations

from functools import cache
from typing import Any

from aily.urls import api


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = api.get_openapi_schema()
    return document


def schemas() -> dict[str, Any]:
    """The schemas of the document by their names."""
    found: dict[str, Any] = _document()["components"]["schemas"]
    return found


@cache
def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Each operation's part of the document, by method and path. To make that takes 0.1 s."""
    paths: dict[str, dict[str, Any]] = _document()["paths"]
    return {
        (method.upper(), path): operation
        for path, found in paths.items()
        for method, operation in found.items()
    }
