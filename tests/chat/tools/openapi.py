"""An OpenAPI document with an operation that can be a tool, and one that cannot."""

from __future__ import annotations

from typing import Any

OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "paths": {
        "/orders/{id}": {
            "get": {
                "operationId": "getOrder",
                "summary": "One order",
                "parameters": [
                    {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}}
                ],
            },
            "delete": {"operationId": "odd", "parameters": [{"in": "cookie", "required": True}]},
        }
    },
}
