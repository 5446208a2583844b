"""The Django app of tables."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_delete
from django.utils.translation import gettext_lazy as _


class TablesConfig(AppConfig):
    name = "chat.tables"
    label = "tables"
    verbose_name = _("Tables")

    def ready(self) -> None:
        from aily.admin.model_texts import translate_models
        from chat.tables import ddl
        from chat.tables.models import AiField, Field, Table
        from chat.tables.transfers import actors  # noqa: F401 - declares the actors

        translate_models(self)
        _audit()
        _register()
        for model in (Table, Field, AiField):
            post_delete.connect(ddl.drop_deleted, sender=model)


def _audit() -> None:
    """Log changes of the catalogue, but for columns that change with every write of a row."""
    from accounts.audit import audited
    from chat.tables.models import AiField, Field, Table, View

    audited(Table, except_for=("rev", "row_count", "schema_rev", "updated_at"))
    audited(Field, except_for=("retype", "is_retyping", "updated_at"))
    audited(View, except_for=("updated_at",))
    names = ("config_rev", "policy_note", "policy_reason", "checked_rev", "checked_config")
    audited(AiField, except_for=("updated_at", *names))


def _register() -> None:
    """Name what tables have to those that know no tables: permissions, runs, frames, undo."""
    from accounts.access.permissions import register_objects
    from chat.followers import register_follower
    from chat.runs.kinds import register_kind
    from chat.tables import following, undo
    from chat.tables.ai import answers, reverting, states
    from chat.tables.ai.kind import TableRuns
    from chat.tables.exports import progress as export_progress
    from chat.tables.imports import progress as import_progress
    from chat.tables.imports.undoing import undo_import
    from chat.tables.models import Table
    from chat.tables.permissions import PERMISSIONS
    from chat.tables.queries.catalogue import register_answer_state
    from chat.tables.showing import register_answer_reader

    register_objects(Table, "id", PERMISSIONS, is_shared_by_owners=True)
    register_kind(TableRuns())
    register_answer_state(states.answer_state)
    register_answer_reader(answers.read)
    undo.register_batch_undo(undo_import)
    undo.register_batch_undo(reverting.undo)
    register_follower("table.subscribe", following.follow)
    register_follower("import.subscribe", import_progress.follow)
    register_follower("export.subscribe", export_progress.follow)
