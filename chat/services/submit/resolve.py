"""Stage `resolve`: look up what the requests of a batch name, with one query a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.utils import timezone

from accounts.access.permissions import PermissionSet, permission_sets
from aily.database.rows import fetch_each
from aily.problems import Forbidden, InvalidRequest, NotFound
from chat import accounting
from chat.accounting import BudgetsInForce
from chat.exceptions import ModelDisabled, UnknownModel, UnsuitableModel, because
from chat.models import LLMModel, Scene, SceneVersion, TaskKind, WebhookEndpoint
from chat.models.ids import is_own
from chat.reasons import Reason
from chat.services import catalog, drafts, history, repeats, webhooks
from chat.services.catalog import Catalog
from chat.services.history import History
from chat.services.repeats import EarlierTask, OwnedKey
from chat.services.restrictions import EDIT_SCENE, USE_MODEL, USE_SCENE
from chat.services.submit.idempotency import reuse_idempotent
from chat.services.submit.pending import PendingSubmission, Submission, Target, take_on


def resolve_names(batch: Sequence[PendingSubmission]) -> BudgetsInForce:
    """Set each submission's target, or refuse it. Returns the budgets that hold for the batch.

    Repeated requests come first: what has changed since the earlier one is not held against them.
    """
    lookups = look_up([pending.submission for pending in batch])
    reuse_idempotent(batch, lookups.earlier_tasks)
    take_on(batch, partial(_resolve, lookups))
    return lookups.budgets


# --- Looking up ---------------------------------------------------------------------------------
@dataclass(slots=True)
class Lookups:
    """All rows that a batch names, as the database has them."""

    catalog: Catalog
    budgets: BudgetsInForce
    #: Tasks that the submissions' idempotency keys have made before.
    earlier_tasks: dict[OwnedKey, EarlierTask]
    histories: dict[tuple[int, UUID], History] = field(default_factory=dict)
    #: Of the owners; empty if no submission names one.
    endpoints: dict[int, list[WebhookEndpoint]] = field(default_factory=dict)
    #: Of the owners; empty if nothing that is asked for is restricted.
    permissions: dict[int, PermissionSet] = field(default_factory=dict)
    #: Versions that are named by their numbers, by scene and number.
    named_versions: dict[tuple[int, int], SceneVersion] = field(default_factory=dict)

    def may_edit(self, owner_id: int, scene: Scene | None) -> bool:
        permissions = self.permissions.get(owner_id)
        return permissions is not None and permissions.allows(EDIT_SCENE, scene)

    def may_use(self, owner_id: int, row: Scene | LLMModel, permission: str) -> bool:
        permissions = self.permissions.get(owner_id)
        return not row.is_restricted or (
            permissions is not None and permissions.allows(permission, row.pk)
        )


def look_up(submissions: Sequence[Submission]) -> Lookups:
    """In one round trip, or a second one where histories are read. Raises django.db.Error."""
    slugs = {submission.request.scene for submission in submissions if submission.request.scene}
    owners = {submission.owner_id for submission in submissions}
    api_keys = {
        submission.api_key_id for submission in submissions if submission.api_key_id is not None
    }
    owned_keys = {submission.owned_key for submission in submissions if submission.owned_key}
    at = timezone.now()
    versions_query = catalog.versions_query(slugs, owners)
    budgets_query = accounting.in_force_query(owners, api_keys, at)
    earlier: list[EarlierTask] = []
    if owned_keys:
        versions, budgets, earlier = fetch_each(
            versions_query, budgets_query, repeats.keys_query(owned_keys)
        )
    else:
        versions, budgets = fetch_each(versions_query, budgets_query)
    found = catalog.from_rows(versions)
    lookups = Lookups(found, accounting.in_force_from(budgets, at), repeats.by_key(earlier))
    usable: list[Scene | LLMModel] = [*found.scenes.values(), *found.models.values()]
    named = [submission.request for submission in submissions if submission.request.version]
    if named or any(row.is_restricted for row in usable):
        lookups.permissions = permission_sets(owners)
    if named:
        lookups.named_versions = drafts.read_versions(named, found)
    fresh = [
        submission
        for submission in submissions
        if submission.owned_key not in lookups.earlier_tasks
    ]
    _read_histories_and_endpoints(fresh, lookups)
    return lookups


def _read_histories_and_endpoints(fresh: Sequence[Submission], lookups: Lookups) -> None:
    """Read what only submits that repeat no earlier one need."""
    conversations = {
        (submission.owner_id, submission.request.conversation_id)
        for submission in fresh
        if submission.request.conversation_id and is_own(submission.request.conversation_id)
    }
    if conversations:
        lookups.histories = history.read(conversations)
    lookups.endpoints = webhooks.endpoints_of(
        submission.owner_id for submission in fresh if submission.request.webhook is not None
    )


# --- Choosing -----------------------------------------------------------------------------------
def _resolve(lookups: Lookups, pending: PendingSubmission) -> None:
    submission = pending.submission
    scene = _scene(submission, lookups)
    version = _version(submission, scene, lookups)
    model = _able(submission, _model(submission, version, lookups))
    pending.target = Target(
        scene=scene,
        version=version,
        model=model,
        fallbacks=_fallbacks(submission, version, model, lookups),
        history=_history(submission, lookups),
        weight=lookups.catalog.weights.get(submission.owner_id, 1),
        webhook_id=_webhook_id(submission, lookups),
    )


def _scene(submission: Submission, lookups: Lookups) -> Scene | None:
    slug = submission.request.scene
    if slug is None:
        return None
    scene = lookups.catalog.scenes.get(slug)
    if submission.request.version is not None and not submission.is_version_pinned:
        # Forbidden comes first: without it, one does not learn whether there is such a scene.
        if not lookups.may_edit(submission.owner_id, scene):
            raise because(
                Forbidden, Reason.of("permission", permission=EDIT_SCENE), field="version"
            )
        if scene is not None:
            return scene
    if (
        scene is None
        or not scene.is_enabled
        or scene.live_version is None
        or not lookups.may_use(submission.owner_id, scene, USE_SCENE)
    ):
        raise because(NotFound, Reason.of("no_such_scene", name=repr(slug)), field="scene")
    return scene


def _version(submission: Submission, scene: Scene | None, lookups: Lookups) -> SceneVersion | None:
    """The version that the request names, or else the live one."""
    number = submission.request.version
    if scene is None or number is None:
        return scene.live_version if scene else None
    version = lookups.named_versions.get((scene.pk, number))
    if version is None:
        reason = Reason.of("no_such_version", name=repr(scene.slug), number=number)
        raise because(NotFound, reason, field="version")
    return version


def _model(submission: Submission, version: SceneVersion | None, lookups: Lookups) -> LLMModel:
    name = submission.request.model
    if name is not None:
        model = lookups.catalog.models.get(name)
        if model is None or not lookups.may_use(submission.owner_id, model, USE_MODEL):
            raise UnknownModel(name)
        return _enabled(model)
    preferred = version.model if version else None
    if preferred is not None and preferred.is_offered:
        if not _comes_with_version(submission, preferred, lookups):
            reason = Reason.of("no_model", name=repr(preferred.name))
            raise because(InvalidRequest, reason, field="version")
        return preferred
    default = lookups.catalog.default_model
    if default is not None and lookups.may_use(submission.owner_id, default, USE_MODEL):
        return _enabled(default)
    if preferred is not None:
        raise ModelDisabled(preferred.name)
    raise because(InvalidRequest, Reason("no_default_model"), field="model")


def _able(submission: Submission, model: LLMModel) -> LLMModel:
    """The model. Raises UnsuitableModel if it cannot do what the request asks for."""
    request = submission.request
    if model.capability == request.kind:
        return model
    field = "scene" if request.scene and not request.model else "model"
    raise because(UnsuitableModel, _misfit(model), field=field)


def _misfit(model: LLMModel) -> Reason:
    makes_vectors = model.capability == TaskKind.EMBEDDINGS
    name = "no_chat_model" if makes_vectors else "no_embedding_model"
    return Reason.of(name, name=repr(model.name))


def _comes_with_version(submission: Submission, model: LLMModel, lookups: Lookups) -> bool:
    """A scene's own models come with the scene; those of a version that is tried do not: another
    editor may have named them."""
    is_tried = submission.request.version is not None and not submission.is_version_pinned
    return not is_tried or lookups.may_use(submission.owner_id, model, USE_MODEL)


def _enabled(model: LLMModel) -> LLMModel:
    """The model. Raises ModelDisabled."""
    if not model.is_offered:
        raise ModelDisabled(model.name)
    return model


def _fallbacks(
    submission: Submission, version: SceneVersion | None, model: LLMModel, lookups: Lookups
) -> list[int]:
    """The ids of the fallback models: those of the request, or else those of the scene if the
    request names no model. Raises InvalidRequest where the request names one that is not there."""
    if submission.request.fallbacks is not None:
        found = _named_fallbacks(submission, submission.request.fallbacks, lookups)
    elif version is None or submission.request.model is not None:
        return []
    else:
        named = (lookups.catalog.models.get(name) for name in version.fallback_models)
        found = [
            fallback
            for fallback in named
            if fallback is not None and _comes_with_version(submission, fallback, lookups)
        ]
    ids = [
        fallback.pk
        for fallback in found
        if fallback != model and fallback.is_offered and fallback.capability == model.capability
    ]
    return list(dict.fromkeys(ids))


def _named_fallbacks(
    submission: Submission, names: Sequence[str], lookups: Lookups
) -> list[LLMModel]:
    found = []
    for place, name in enumerate(names):
        fallback = lookups.catalog.models.get(name)
        if fallback is None or not lookups.may_use(submission.owner_id, fallback, USE_MODEL):
            reason = Reason.of("no_model", name=repr(name))
            raise because(InvalidRequest, reason, field=f"fallbacks.{place}")
        if fallback.capability != submission.request.kind:
            raise because(InvalidRequest, _misfit(fallback), field=f"fallbacks.{place}")
        found.append(fallback)
    return found


def _webhook_id(submission: Submission, lookups: Lookups) -> int | None:
    name = submission.request.webhook
    if name is None:
        return None
    own = lookups.endpoints.get(submission.owner_id, [])
    named = [endpoint for endpoint in own if name in (endpoint.pk, endpoint.url)]
    if not named:
        raise because(InvalidRequest, Reason("no_such_endpoint"), field="webhook")
    active = [endpoint.pk for endpoint in named if endpoint.is_active]
    if not active:
        raise because(InvalidRequest, Reason("activate_endpoint"), field="webhook")
    return active[0]


def _history(submission: Submission, lookups: Lookups) -> History | None:
    conversation_id = submission.request.conversation_id
    if conversation_id is None:
        return None
    history = lookups.histories.get((submission.owner_id, conversation_id))
    if history is None:
        raise because(NotFound, Reason("no_such_conversation"), field="conversation_id")
    return history
