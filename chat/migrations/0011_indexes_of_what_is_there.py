"""Indexes of tasks hold only what they are for.

They are built while tasks are read and written. Each step may be repeated where it broke off, and
nothing is without its index in between: the new one is there before the old one goes.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.migrations.operations.base import Operation


def built(name: str, columns: str, condition: str, *, unique: str = "") -> list[str]:
    """An index that may be missing, or invalid because its building broke off."""
    on = f"ON chat_task ({columns}) {condition}"
    return [
        f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
        f"CREATE {unique} INDEX CONCURRENTLY {name} {on}",
    ]


def replaced(name: str, columns: str, condition: str) -> list[str]:
    """A constraint's index with another condition. It takes the old one's place in an instant."""
    swapped = f"""
    DO $$ BEGIN
      ALTER TABLE chat_task DROP CONSTRAINT IF EXISTS {name};
      DROP INDEX IF EXISTS {name};
      ALTER INDEX {name}_new RENAME TO {name};
    END $$
    """
    return [*built(f"{name}_new", columns, condition, unique="UNIQUE"), swapped]


def beside(sql: list[str], back: list[str], *state: Operation) -> Operation:
    """Statements in the place of those that Django would send, which lock the table."""
    statements = migrations.RunSQL(sql, back)
    return migrations.SeparateDatabaseAndState([statements], list(state))


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0005_totp"),
        ("chat", "0010_tagged_message_delivery_ids"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        beside(
            built("task_conversation", "conversation_id", "WHERE conversation_id IS NOT NULL"),
            ["DROP INDEX CONCURRENTLY IF EXISTS task_conversation"],
            migrations.AddIndex(
                model_name="task",
                index=models.Index(
                    condition=models.Q(("conversation__isnull", False)),
                    fields=["conversation"],
                    name="task_conversation",
                ),
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="conversation",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="tasks",
                to="chat.conversation",
            ),
        ),
        beside(
            replaced(
                "unique_owner_idempotency_key",
                "owner_id, idempotency_key",
                "WHERE idempotency_key IS NOT NULL",
            ),
            replaced("unique_owner_idempotency_key", "owner_id, idempotency_key", ""),
            migrations.RemoveConstraint(model_name="task", name="unique_owner_idempotency_key"),
            migrations.AddConstraint(
                model_name="task",
                constraint=models.UniqueConstraint(
                    condition=models.Q(("idempotency_key__isnull", False)),
                    fields=("owner", "idempotency_key"),
                    name="unique_owner_idempotency_key",
                ),
            ),
        ),
        beside(
            replaced(
                "one_active_task_a_conversation",
                "conversation_id",
                "WHERE conversation_id IS NOT NULL AND status IN ('queued', 'running')",
            ),
            replaced(
                "one_active_task_a_conversation",
                "conversation_id",
                "WHERE status IN ('queued', 'running')",
            ),
            migrations.RemoveConstraint(model_name="task", name="one_active_task_a_conversation"),
            migrations.AddConstraint(
                model_name="task",
                constraint=models.UniqueConstraint(
                    condition=models.Q(
                        ("conversation__isnull", False), ("status__in", ["queued", "running"])
                    ),
                    fields=("conversation",),
                    name="one_active_task_a_conversation",
                ),
            ),
        ),
    ]
