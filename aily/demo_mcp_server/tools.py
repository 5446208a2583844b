"""Five tools, and counters of their calls."""

from __future__ import annotations

import ast
import asyncio
import json
import operator
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from mcp.server.mcpserver import Context, Elicit, MCPServer, RequestStateSecurity, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

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
