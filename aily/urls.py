"""Every path of aily. The composition root of the web: the one place that imports all apps."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path

from accounts.api.keys import router as keys
from accounts.api.me import router as me
from accounts.api.menus import router as menus
from accounts.api.roles import router as roles
from accounts.api.sessions import router as sessions
from accounts.api.users import router as users
from accounts.authentication import BearerAuth, SessionAuth
from aily.rest.api import api_urls, build_api, unknown_path
from aily.web.probes import livez, readyz
from chat.api.budgets import router as budgets
from chat.api.conversations import router as conversations
from chat.api.deployments import router as deployments
from chat.api.pauses import router as pauses
from chat.api.providers import router as providers
from chat.api.runs import router as runs
from chat.api.scenes import router as scenes
from chat.api.tasks import router as tasks
from chat.api.tool_calls import router as tool_calls
from chat.api.tool_servers import router as tool_servers
from chat.api.tools import router as tools
from chat.api.usage import router as usage
from chat.api.webhooks import router as webhooks
from chat.tables.api.ai_fields import router as ai_fields
from chat.tables.api.ai_runs import router as ai_runs
from chat.tables.api.changes import router as table_changes
from chat.tables.api.comparisons import router as comparisons
from chat.tables.api.exports import router as table_exports
from chat.tables.api.fields import router as table_fields
from chat.tables.api.imports import router as table_imports
from chat.tables.api.queries import router as table_queries
from chat.tables.api.rows import router as table_rows
from chat.tables.api.sharing import router as table_shares
from chat.tables.api.tables import router as tables
from chat.tables.api.views import router as table_views

admin.autodiscover()

api = build_api(
    {
        "": [
            me,
            sessions,
            keys,
            users,
            roles,
            menus,
            providers,
            deployments,
            webhooks,
            usage,
            budgets,
        ],
        "/conversations": conversations,
        "/llmchat": [tasks, tool_calls, pauses, tool_servers, tools],
        "/llmchat/runs": runs,
        "/scenes": scenes,
        "/tables": [
            tables,
            table_fields,
            table_rows,
            table_shares,
            table_changes,
            table_views,
            table_queries,
            ai_fields,
            ai_runs,
            comparisons,
            table_imports,
            table_exports,
        ],
    },
    auth=[BearerAuth(), SessionAuth()],
)

handler500 = "aily.web.probes.failed"
urlpatterns = [
    path("admin/console/", include("chat.admin.console")),
    path("admin/", admin.site.urls),
    path("api/", include(api_urls(api)[:2], namespace=api.urls_namespace)),
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    # What only programs ask for is answered as programs are, not with a page or a redirect.
    re_path(r"^(?:api$|(?:v1|ws)(?:/|$))", unknown_path),
    path("", include("accounts.urls")),
    path("", include("chat.urls")),
]
