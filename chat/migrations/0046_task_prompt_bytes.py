from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0045_reason_params"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="prompt_bytes",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                help_text="Of its messages as JSON; 0: not counted.",
            ),
        ),
    ]
