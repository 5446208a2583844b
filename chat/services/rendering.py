"""Rendering and checking scenes: at once if that is little work, else in a process that can be
stopped (chat/rendering/pool.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from django.conf import settings
from django.db import connections
from pydantic import JsonValue

from aily.problems import InvalidRequest, Problem
from chat.exceptions import InvalidTemplate
from chat.models import SceneVersion
from chat.observability import metrics
from chat.reasons import Reason
from chat.rendering.json_schema import SchemaRefusedError
from chat.rendering.limits import Limits
from chat.rendering.pool import RenderingPool
from chat.rendering.prompt import Messages, Prompt, PromptSource, measure_variables
from chat.rendering.template import HeavyWorkError
from chat.services import output_formats


@dataclass(frozen=True, slots=True)
class Rendered:
    """The messages that a version's templates became."""

    version_id: int
    messages: Messages


def _limits() -> Limits:
    return Limits(
        prompt_max_bytes=settings.PROMPT_MAX_BYTES,
        variables_max_bytes=settings.VARIABLES_MAX_BYTES,
        variables_max_values=settings.VARIABLES_MAX_VALUES,
        variables_max_depth=settings.VARIABLES_MAX_DEPTH,
        cpu_seconds=settings.RENDERING_SECONDS,
        memory_bytes=settings.RENDERING_MAX_MEMORY_BYTES,
    )


@cache
def _pool() -> RenderingPool:
    return RenderingPool(settings.RENDERING_PROCESSES, settings.RENDERING_MAX_WAITING_PER_USER)


def source_of(version: SceneVersion) -> PromptSource:
    return PromptSource(version.system_template, version.user_template, version.variables_schema)


@lru_cache(maxsize=256)
def _published_prompt(version: SceneVersion) -> Prompt | InvalidTemplate | None:
    """The compiled prompt of a published version; None if compiling it is too much work here.

    Compiling takes milliseconds, rendering microseconds. Model instances are equal by primary key,
    and a published version does not change. An InvalidTemplate is a version that an earlier aily
    published, and that cannot be used any more.
    """
    return _compiled(source_of(version))


def _compiled(source: PromptSource) -> Prompt | InvalidTemplate | None:
    try:
        return Prompt(source) if source.is_little_work() else None
    except InvalidTemplate as problem:
        return problem


def render(version: SceneVersion, variables: Mapping[str, JsonValue]) -> Messages:
    """The messages of a version: `[{"role": "system" | "user", "content": ...}]`.

    A draft, which may change, is compiled each time. Raises HeavyWorkError where that is more than
    little work; InvalidVariable, InvalidTemplate, or TooLarge beyond PROMPT_MAX_BYTES in all.
    """
    limits = _limits()
    size = measure_variables(variables, limits)
    is_published = version.published_at is not None
    prompt = _published_prompt(version) if is_published else _compiled(source_of(version))
    if prompt is None:
        raise HeavyWorkError
    if isinstance(prompt, InvalidTemplate):
        raise InvalidTemplate(prompt.message, field=prompt.field, params=prompt.params)
    return prompt.render_if_little_work(variables, size, limits)


async def render_apart(
    version: SceneVersion, variables: Mapping[str, JsonValue], owner_id: int
) -> Rendered:
    """`render` however much work it is, in another process.

    Raises TemplateTimeout, TooManyRenderings or Unavailable besides.
    """
    with _counted():
        job = _pool().submit(owner_id, source_of(version), variables, _limits())
        reply = await asyncio.wrap_future(job)
    return Rendered(version.pk, reply["messages"])


def render_now(
    version: SceneVersion, variables: Mapping[str, JsonValue], owner_id: int
) -> Rendered:
    """`render_apart` for a thread: waits for the other process, with no database connection."""
    return Rendered(version.pk, render_source(source_of(version), variables, owner_id))


def render_source(
    source: PromptSource, variables: Mapping[str, JsonValue], user_id: int
) -> Messages:
    """The messages that templates make of variables. Raises as `render_apart` does; waits."""
    limits = _limits()
    size = measure_variables(variables, limits)
    if source.is_little_work():
        try:
            return Prompt(source).render_if_little_work(variables, size, limits)
        except HeavyWorkError:
            pass
    _return_connections()
    with _counted():
        return _pool().submit(user_id, source, variables, limits).result()["messages"]


def check(source: PromptSource, user_id: int) -> dict[str, JsonValue]:
    """The schema of a draft: its own, or the one that its templates imply.

    Waits for another process where it is much work, with no connection to the database unless the
    caller is in a transaction. Raises InvalidTemplate, TooManyRenderings or Unavailable.
    """
    if source.is_little_work():
        prompt = Prompt(source)
        prompt.check_names()
        return prompt.variables.schema
    _return_connections()
    # Half of the time: a rendering compiles first, in each process that has not done so yet.
    limits = replace(_limits(), cpu_seconds=settings.RENDERING_SECONDS / 2)
    with _counted():
        return _pool().submit(user_id, source, None, limits).result()["schema"]


async def check_schema_apart(schema: dict[str, JsonValue], owner_id: int) -> None:
    """Check a request's schema of answers in another process, and note that it can be used.

    Raises InvalidRequest where it cannot; TooManyRenderings or Unavailable besides.
    """
    with _counted():
        job = _pool().check_output(owner_id, schema, None, _limits())
        try:
            await asyncio.wrap_future(job)
        except InvalidTemplate as problem:
            raise InvalidRequest(
                problem.message, field=output_formats.FIELD, params=problem.params
            ) from None
    output_formats.note_usable(schema)


def check_schema_now(schema: dict[str, JsonValue], owner_id: int) -> None:
    """`check_schema_apart` for a thread: waits for the other process."""
    try:
        check_output_schema(schema, owner_id)
    except InvalidTemplate as problem:
        raise InvalidRequest(
            problem.message, field=output_formats.FIELD, params=problem.params
        ) from None


def check_output_schema(schema: object, user_id: int) -> None:
    """Check a scene's schema of answers, where it has one. Raises InvalidTemplate.

    May wait for another process: TooManyRenderings or Unavailable besides.
    """
    if schema is None:
        return
    if not isinstance(schema, dict):
        raise InvalidTemplate.because(Reason.of("not_object"), field="output_schema")
    try:
        output_formats.require_usable(schema)
    except SchemaRefusedError as error:
        raise InvalidTemplate.because(error.reason, field="output_schema") from None
    except output_formats.NeedsSchemaCheckError:
        _return_connections()
        with _counted():
            _pool().check_output(user_id, schema, None, _limits()).result()
        output_formats.note_usable(schema)


def _return_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


@contextmanager
def _counted() -> Iterator[None]:
    try:
        yield
    except Problem as problem:
        metrics.RENDERINGS.labels(problem.code).inc()
        raise
    metrics.RENDERINGS.labels("done").inc()
