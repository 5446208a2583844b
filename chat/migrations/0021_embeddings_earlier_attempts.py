"""Embeddings: a kind of task, what a model can do, and the vectors that answer a task. And the times
of a task's earlier attempts.

The columns have defaults in the database: processes of before go on writing while this is
deployed. Vectors hardly shrink when they are compressed, and parts of what is not compressed can
be read by themselves.
"""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

KINDS = [("chat", "Chat completion"), ("embeddings", "Embeddings")]


class Migration(migrations.Migration):
    dependencies = [("chat", "0018_runs")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="kind",
            field=models.CharField(choices=KINDS, db_default="chat", default="chat", max_length=10),
        ),
        migrations.AddField(
            model_name="task",
            name="earlier_attempts",
            field=models.JSONField(
                help_text="Times and outcomes of the attempts before the last one.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="llmmodel",
            name="capability",
            field=models.CharField(
                choices=KINDS,
                db_default="chat",
                default="chat",
                help_text="What it answers with: text, or vectors (POST /v1/embeddings).",
                max_length=10,
            ),
        ),
        migrations.CreateModel(
            name="TaskVectors",
            fields=[
                (
                    "task",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="vectors",
                        serialize=False,
                        to="chat.task",
                    ),
                ),
                ("count", models.PositiveIntegerField()),
                ("dimensions", models.PositiveIntegerField()),
                ("floats", models.BinaryField()),
                (
                    "stored_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), db_index=True
                    ),
                ),
            ],
            options={
                "verbose_name": "vectors of a task",
                "verbose_name_plural": "vectors of tasks",
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE chat_taskvectors ALTER COLUMN floats SET STORAGE EXTERNAL",
            migrations.RunSQL.noop,
        ),
    ]
