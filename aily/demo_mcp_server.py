"""Entry point of the demo MCP server: `python -m aily.demo_mcp_server --port 8003`.

Five tools with which to see how tools behave: `clock`, `calculate`, `slow`, `ask`, which asks the
user, and `fail`. GET /stats counts their calls, POST /stats/reset begins anew; so a test can see
that no call was made twice. It imports neither Django nor aily's other code.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import operator
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from mcp.server.mcpserver import Context, Elicit, MCPServer, RequestStateSecurity, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

#: Seals what a client keeps between a question and its answer. No secret: all of it is a demo, and
#: a restart between the two must not lose the call.
_STATE_KEY = "aily's demo MCP server, which has no secrets"
_MAX_SECONDS = 3600
_MAX_EXPRESSION_CHARS = 200
_STEP_SECONDS = 0.5


@dataclass
class Stats:
    """Calls since the start or the last reset, by tool, and by tool and arguments."""

    begun: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    cancelled: Counter[str] = field(default_factory=Counter)
    #: Calls that finished, by `<tool> <arguments as JSON>`.
    finished_calls: Counter[str] = field(default_factory=Counter)

    def reset(self) -> None:
        for counter in vars(self).values():
            counter.clear()

    @asynccontextmanager
    async def call(self, tool: str, **arguments: object) -> AsyncIterator[None]:
        """Count a call by how it ends."""
        self.begun[tool] += 1
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled[tool] += 1
            raise
        except Exception:
            self.failed[tool] += 1
            raise
        self.finished[tool] += 1
        self.finished_calls[f"{tool} {json.dumps(arguments, sort_keys=True)}"] += 1


stats = Stats()
server = MCPServer(
    "aily-demo",
    title="aily's demo tools",
    version="1",
    request_state_security=RequestStateSecurity(keys=[_STATE_KEY], ttl=7 * 86_400),
)
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)


# --- Tools --------------------------------------------------------------------------------------
@server.tool(annotations=_READS)
async def clock() -> str:
    """The time now, in UTC."""
    async with stats.call("clock"):
        return datetime.now(UTC).isoformat(timespec="seconds")


@server.tool(annotations=_READS)
async def calculate(
    expression: Annotated[str, Field(max_length=_MAX_EXPRESSION_CHARS)],
) -> float:
    """The value of an expression of numbers, + - * / and parentheses, such as `2 * (3 + 4)`."""
    async with stats.call("calculate", expression=expression):
        return _value(expression)


@server.tool()
async def slow(seconds: Annotated[float, Field(ge=0, le=_MAX_SECONDS)], ctx: Context) -> str:
    """Answer after so many seconds, with progress meanwhile."""
    async with stats.call("slow", seconds=seconds):
        waited = 0.0
        while waited < seconds:
            await ctx.report_progress(waited, seconds)
            step = min(_STEP_SECONDS, seconds - waited)
            await asyncio.sleep(step)
            waited += step
        return f"Waited {seconds:g} s."


class Answer(BaseModel):
    """What the user is asked for."""

    answer: str


def _question(question: str) -> Elicit[Answer]:
    return Elicit(question, Answer)


@server.tool()
async def ask(question: str, answered: Annotated[Answer, Resolve(_question)]) -> str:
    """Ask the user a question, and return the answer."""
    async with stats.call("ask", question=question):
        return answered.answer


@server.tool()
async def fail(message: str = "This tool always fails.") -> str:
    """Fail."""
    async with stats.call("fail", message=message):
        raise ToolError(message)


# --- Arithmetic ---------------------------------------------------------------------------------
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _value(expression: str) -> float:
    """Raises ToolError for what is no arithmetic."""
    try:
        return _value_of(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError("This is no expression of numbers, + - * / and parentheses.") from None
    except ArithmeticError as error:
        raise ToolError(f"This has no value: {error}.") from None


def _value_of(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value_of(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value_of(left), _value_of(right))
        case _:
            raise ValueError(node)


# --- Counters -----------------------------------------------------------------------------------
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
