"""The web app's page: a shell that the modules in static/js fill over REST and WebSocket."""

from __future__ import annotations

from typing import Any

from csp.constants import NONCE, SELF
from csp.decorators import csp_update
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from accounts.access.permissions import PermissionSet, permissions_of
from accounts.sessions.login import fully_logged_in
from chat.models import LLMModel, Scene, TaskKind
from chat.services.restrictions import EDIT_SCENE, PUBLISH_SCENE

#: Modules that the first page needs, and that the browser would otherwise learn of one after the
#: other, each in the module before.
_PRELOADED = (
    "js/i18n/i18n.js",
    "js/pages/chat/page.js",
    "js/pages/chat/answer.js",
    "js/ui/icons.js",
    "js/lit.js",
    "vendor/lit-html/lit-html.js",
    "vendor/lit-html/directive-helpers.js",
)
#: Loaded by the tables' page alone.
_TABLE_STYLES = (
    "vendor/slickgrid/slick.grid.css",
    *(
        f"css/tables/{name}.css"
        for name in ("page", "grid", "panel", "menus", "ai", "cards", "compare")
    ),
)


@csp_update({"style-src": [SELF, NONCE]})
@require_safe
@never_cache
@ensure_csrf_cookie
@fully_logged_in
def index(request: HttpRequest) -> HttpResponse:
    catalogue = f"js/i18n/{get_language()}.js"
    # The grid of the tables' page makes a style element, which needs the response's nonce.
    assets = {
        "styles": [static(path) for path in _TABLE_STYLES],
        "nonce": str(request.csp_nonce),  # type: ignore[attr-defined]
        "import_max_bytes": settings.IMPORT_MAX_BYTES,
    }
    data = {**page_data(request.user), "table_assets": assets}
    context = {"page_data": data, "preloaded": (catalogue, *_PRELOADED)}
    return render(request, "chat/index.html", context)


def page_data(user: Any) -> dict[str, Any]:
    """What the modules need before their first request; of models the default comes first."""
    permissions = permissions_of(user)
    chat_models = LLMModel.objects.filter(capability=TaskKind.CHAT)
    models = chat_models.with_deployments().order_by("-is_default", "name")
    return {
        "user_id": user.pk,
        "username": user.get_username(),
        "models": [
            {"name": model.name, "simulated": model.is_simulated}
            for model in models
            if model.is_offered
            and (not model.is_restricted or permissions.allows("chat.use_llmmodel", model))
        ],
        # Answers of models that are no longer offered keep their label.
        "simulated_models": [model.name for model in models if model.is_simulated],
        "edited_scenes": _scenes_with(permissions, EDIT_SCENE),
        "published_scenes": _scenes_with(permissions, PUBLISH_SCENE),
        "frame_max_bytes": settings.WEBSOCKET_FRAME_MAX_BYTES,
        "run_max_file_bytes": settings.RUN_MAX_FILE_BYTES,
    }


def _scenes_with(permissions: PermissionSet, permission: str) -> list[str] | None:
    """The slugs of the scenes on which the permission holds; None: on all."""
    if permissions.allows(permission):
        return None
    granted = permissions.objects(permission)
    if not granted:
        return []
    return list(Scene.objects.filter(pk__in=granted).values_list("slug", flat=True))
