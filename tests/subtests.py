"""Cases that share one test: what they are about is made once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

import pytest

F = TypeVar("F", bound=Callable[..., Any])


def subtested(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[F], F]:
    """Like `pytest.mark.parametrize`, but the cases are subtests of one test, with its fixtures.

    For tests that change nothing that another case sees. A table, a user and a key take longer to
    make, and to delete, than most requests.
    """
    if isinstance(names, str):
        names, cases = (names,), [(case,) for case in cases]
    arguments = [dict(zip(names, case, strict=True)) for case in cases]

    def decorate(function: F) -> F:
        @wraps(function)
        def run(*, subtests: pytest.Subtests, **fixtures: Any) -> None:
            for given in arguments:
                with subtests.test(_label(given)):
                    function(**fixtures, **given)

        @wraps(function)
        async def run_async(*, subtests: pytest.Subtests, **fixtures: Any) -> None:
            for given in arguments:
                with subtests.test(_label(given)):
                    await function(**fixtures, **given)

        runs: Any = run_async if inspect.iscoroutinefunction(function) else run
        # The fixtures, as pytest reads them.
        signature = inspect.signature(function)
        kept = [given for given in signature.parameters.values() if given.name not in names]
        subtests = inspect.Parameter("subtests", inspect.Parameter.KEYWORD_ONLY)
        runs.__signature__ = signature.replace(parameters=[*kept, subtests])
        del runs.__wrapped__
        return runs  # type: ignore[no-any-return]

    return decorate


def _label(given: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r:.80}" for name, value in given.items())
