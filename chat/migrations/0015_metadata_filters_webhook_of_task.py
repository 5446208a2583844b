"""Tasks are found by their metadata, usage is summed by it, and a task may name its webhook.

Columns have defaults in the database: processes of before, that know none of them, go on writing
while this is deployed. The index is built meanwhile, and may be built again if that broke off.
"""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

DROP = "DROP INDEX CONCURRENTLY IF EXISTS task_metadata"
BUILD = """
CREATE INDEX CONCURRENTLY task_metadata ON chat_task USING gin (metadata jsonb_path_ops)
 WHERE NOT needs_settling AND NOT metadata = '{}'::jsonb
"""


def names(max_length: int, help_text: str) -> models.Field:
    return django.contrib.postgres.fields.ArrayField(
        models.CharField(max_length=max_length),
        blank=True,
        db_default=[],
        default=list,
        help_text=help_text,
        size=None,
    )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("chat", "0014_pauses_draining_seeds")]

    operations = [
        migrations.AddField(
            model_name="ledgerentry",
            name="metadata",
            field=models.JSONField(
                db_default={},
                default=dict,
                help_text="Of the task's, the short values. Only in entries of usage.",
            ),
        ),
        migrations.AddField(
            model_name="webhookendpoint",
            name="only_metadata",
            field=models.JSONField(
                blank=True,
                db_default={},
                default=dict,
                help_text="Only of tasks with these values in their metadata.",
            ),
        ),
        migrations.AddField(
            model_name="webhookendpoint",
            name="only_models",
            field=names(100, "Only of tasks of these models, by name. Empty: all."),
        ),
        migrations.AddField(
            model_name="webhookendpoint",
            name="only_named",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Only of tasks that name this endpoint."
            ),
        ),
        migrations.AddField(
            model_name="webhookendpoint",
            name="only_scenes",
            field=names(50, "Only of tasks of these scenes, by slug. Empty: all."),
        ),
        migrations.AddField(
            model_name="task",
            name="webhook",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                help_text="The endpoint that the request named. It may be deleted since.",
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="chat.webhookendpoint",
            ),
        ),
        migrations.SeparateDatabaseAndState(
            [migrations.RunSQL([DROP, BUILD], [DROP])],
            [
                migrations.AddIndex(
                    model_name="task",
                    index=django.contrib.postgres.indexes.GinIndex(
                        condition=models.Q(
                            ("needs_settling", False),
                            models.Q(("metadata", {}), _negated=True),
                        ),
                        fields=["metadata"],
                        name="task_metadata",
                        opclasses=["jsonb_path_ops"],
                    ),
                )
            ],
        ),
    ]
