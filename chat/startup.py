"""What every process does once, when Django has loaded the models."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_delete, post_migrate, post_save

from accounts.access.permissions import register_objects
from accounts.audit import audited
from accounts.repeats import register_key_lookup
from aily.admin.model_texts import translate_models
from aily.cache import Warmer, register_warmers

# Imported for the Dramatiq actors that they declare (and their schedule): every process may send
# messages to them.
from chat import actors, settlement  # noqa: F401
from chat.models import (
    Budget,
    Deployment,
    LLMModel,
    ModelPrice,
    Provider,
    Scene,
    SceneVersion,
    Tool,
    ToolServer,
    WebhookEndpoint,
)
from chat.models.ids import make_id_key
from chat.models.providers import SECRET_COLUMNS
from chat.models.tools import COLUMNS_OF_LISTINGS, SECRET_COLUMN
from chat.openai.batches.kind import BatchRuns
from chat.runs import results as run_results
from chat.runs.actors import ring_feeder
from chat.runs.file_runs import FileRuns
from chat.runs.kinds import register_kind
from chat.services import (
    catalog,
    model_changes,
    new_models,
    repeats,
    restrictions,
    webhooks,
)
from chat.tables import actors as table_actors  # noqa: F401
from chat.tables.transfers import actors as transfer_actors  # noqa: F401


def prepare(app: AppConfig) -> None:
    """Connect the app's parts with each other and with what `accounts` and `aily` offer."""
    translate_models(app)
    _audit()
    _register()
    _connect_signals(app)


def _audit() -> None:
    """Keep changes by users in the audit log, without columns that the program itself writes."""
    audited(Scene, except_for=("updated_at",))
    for model in (SceneVersion, LLMModel, Deployment, ModelPrice, Budget):
        audited(model)
    audited(Provider, except_for=SECRET_COLUMNS)
    audited(ToolServer, except_for=(SECRET_COLUMN, *COLUMNS_OF_LISTINGS))
    audited(Tool, except_for=COLUMNS_OF_LISTINGS)
    audited(
        WebhookEndpoint,
        except_for=("secret", "previous_secret", "previous_secret_until", "failing_since"),
    )


def _register() -> None:
    """Register permissions on objects, kinds of runs, and what is cached from the start."""
    register_objects(Scene, "slug", ["use_scene", "change_scene", "publish_scene"])
    register_objects(LLMModel, "name", ["use_llmmodel"])
    register_objects(Tool, "function_name", ["use_tool"])
    register_key_lookup(repeats.has_made_task)
    register_kind(FileRuns())
    register_kind(BatchRuns())
    settlement.register_collector(run_results.collect)
    run_results.on_results(ring_feeder)
    register_warmers(
        "scenes",
        Warmer(catalog.SCENES, catalog.scene_keys),
        Warmer(catalog.MODELS, catalog.model_keys),
    )


def _connect_signals(app: AppConfig) -> None:
    restrictions.connect_signals()
    webhooks.ENDPOINT_IDS.connect_signals()
    catalog.SLUGS.connect_signals()
    post_save.connect(new_models.announce, sender=LLMModel)
    post_save.connect(new_models.announce, sender=ToolServer)
    for changeable in (Provider, LLMModel, Deployment):
        post_save.connect(model_changes.announce, sender=changeable)
    post_delete.connect(model_changes.announce, sender=Deployment)
    post_migrate.connect(make_id_key, sender=app)
