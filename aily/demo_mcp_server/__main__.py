"""Entry point of the demo MCP server: `python -m aily.demo_mcp_server --port 8003`.

Five tools with which to see how tools behave: `clock`, `calculate`, `slow`, `ask`, which asks the
user, and `fail`. GET /stats counts their calls, POST /stats/reset begins anew; so a test can see
that no call was made twice. It imports neither Django nor aily's other code.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aily.demo_mcp_server.tools import server, stats


async def _show_stats(request: Request) -> Response:
    return JSONResponse({name: dict(counter) for name, counter in vars(stats).items()})


async def _reset_stats(request: Request) -> Response:
    stats.reset()
    return Response(status_code=204)


# --- The process --------------------------------------------------------------------------------
class _Server(uvicorn.Server):
    """Says where it listens, once it does."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        sys.stdout.write(f"demo MCP server ready http://{host}:{port}/mcp\n")
        sys.stdout.flush()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Serve tools by the Model Context Protocol.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8003, help="0 takes a free one")
    options = parser.parse_args()
    routes = [
        Route("/stats", _show_stats),
        Route("/stats/reset", _reset_stats, methods=["POST"]),
    ]
    app = server.streamable_http_app(host=options.host)
    app.routes.extend(routes)
    config = uvicorn.Config(
        app, host=options.host, port=options.port, log_level="warning", timeout_graceful_shutdown=1
    )
    _Server(config).run()


if __name__ == "__main__":
    main()
