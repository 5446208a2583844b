"""Whether the web processes of an installation are ready."""

from __future__ import annotations

import http.client


def readiness(host: str, port: int) -> str:
    """Ask /readyz; returns why the web processes are not ready, or ""."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"/readyz: {error}"
    finally:
        connection.close()
    return "" if response.status == http.HTTPStatus.OK else f"/readyz: {response.status} {body}"
