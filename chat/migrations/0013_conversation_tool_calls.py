from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0012_providers")]

    # Processes of before, that know none of these columns, go on writing while this is deployed.
    operations = [
        migrations.AddField(
            model_name="message",
            name="parts",
            field=models.JSONField(
                help_text="The content, where it is more than one text.", null=True
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="reasoning",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="Of an answer with tool calls: providers that think want it back.",
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="tool_call_id",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="The call that this is the result of.",
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="tool_calls",
            field=models.JSONField(help_text="In the provider's form.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="history_from",
            field=models.UUIDField(
                help_text="The first message of the conversation that was sent, where older ones "
                "were not.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="message",
            name="role",
            field=models.CharField(
                choices=[
                    ("system", "System"),
                    ("user", "User"),
                    ("assistant", "Assistant"),
                    ("tool", "Tool"),
                ],
                max_length=9,
            ),
        ),
    ]
