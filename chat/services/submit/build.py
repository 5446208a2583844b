"""Stage `build`: render the prompt of each task and make its row, which is not stored yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.models import Lane, SceneVersion
from chat.models.ids import tagged_id
from chat.models.insertion import new_task
from chat.reasons import Reason
from chat.rendering.prompt import Messages
from chat.rendering.template import HeavyWorkError
from chat.services import prompts
from chat.services.output_formats import find_format
from chat.services.parameters import Object, merged
from chat.services.prompts import Prompt
from chat.services.rendering import render
from chat.services.submission import EmbeddingsRequest
from chat.services.submit.pending import (
    NeedsRenderingError,
    PendingSubmission,
    Submission,
    Target,
    take_on,
)

#: Choices that say nothing where there are no tools.
_CHOICES_WITHOUT_TOOLS = (None, "none", "auto")


def build_tasks(batch: Sequence[PendingSubmission]) -> None:
    """Set each submission's task, or refuse it."""
    take_on(batch, _build)


def _build(pending: PendingSubmission) -> None:
    submission, target = pending.submission, pending.target
    request, version, model = submission.request, target.version, target.model
    prompt = _prompt(submission, target)
    given = request.params()
    params = merged(model.params, version.params if version else {}, given)
    tools = _tools(submission, version)
    if "tool_choice" in given and not (tools or params.get("tools")):
        params = _without_choice(params)
    response_format = find_format(params, given, target.scene, version)
    task = new_task(
        id=submission.task_id or tagged_id(),
        owner_id=submission.owner_id,
        api_key_id=submission.api_key_id,
        scene_id=target.scene and target.scene.pk,
        scene_version_id=version and version.pk,
        conversation_id=request.conversation_id,
        model_id=model.pk,
        kind=request.kind,
        fallbacks=target.fallbacks,
        weight=target.weight,
        lane=Lane[request.lane.upper()] if request.lane else submission.default_lane,
        messages=prompt.messages,
        prompt_bytes=prompt.size,
        history_from=prompt.history_from,
        params=params,
        tools=tools,
        response_format=response_format,
        metadata=request.metadata,
        webhook_id=target.webhook_id,
        run_id=submission.run_id,
        idempotency_key=submission.idempotency_key,
        request_digest=submission.stored_digest if submission.idempotency_key else "",
        deadline_at=_deadline(submission),
        needs_settling=True,
    )
    task.model, task.scene, task.scene_version = model, target.scene, version
    task.shares_with_owner = submission.shares_with_owner
    task.user_turn = prompt.user_turn and prompt.user_turn.of(task.pk)
    task.new_response = submission.response.of(task.pk) if submission.response else None
    pending.task = task


def _prompt(submission: Submission, target: Target) -> Prompt:
    request = submission.request
    if isinstance(request, EmbeddingsRequest):
        return Prompt([], 0)
    return prompts.build(request, _rendered(submission, target), target.history)


def _tools(submission: Submission, version: SceneVersion | None) -> dict[str, object] | None:
    """The tools of the scene that the model may call, and the limits of that; None: no tools.

    Raises InvalidRequest where the request names one that the scene does not offer.
    """
    request = submission.request
    offered = version.tools if version is not None else []
    if not offered and not request.named_tools and not request.require_approval:
        return None
    # Imported here: a process without tools loads none of this.
    from chat.services.tool_limits import tool_options
    from chat.tools.offers import narrowed

    names = narrowed(offered, request.named_tools, "tools")
    asks = narrowed(offered, request.require_approval or (), "require_approval")
    if version is None or not names:
        return None
    return tool_options(version, names, asks=asks, max_calls=request.max_tool_calls)


def _without_choice(params: Object) -> Object:
    """The parameters of a request that has no tools without its choice of them.

    Raises InvalidRequest where a call was to be made: an answer without one is not what was asked
    for.
    """
    if params.get("tool_choice") not in _CHOICES_WITHOUT_TOOLS:
        raise because(InvalidRequest, Reason("choice_without_tools"), field="tool_choice")
    return {name: value for name, value in params.items() if name != "tool_choice"}


def _deadline(submission: Submission) -> datetime | None:
    """The earlier of the request's deadline and its run's."""
    seconds = submission.request.deadline_seconds
    own = timezone.now() + timedelta(seconds=seconds) if seconds else None
    return min(filter(None, (own, submission.deadline_at)), default=None)


def _rendered(submission: Submission, target: Target) -> Messages:
    """The scene's messages. Raises NeedsRenderingError if that is much work."""
    version = target.version
    if version is None:
        return []
    rendered = submission.rendered
    if rendered is not None and rendered.version_id == version.pk:
        return rendered.messages
    try:
        return render(version, submission.request.variables)
    except HeavyWorkError:
        raise NeedsRenderingError(version) from None
