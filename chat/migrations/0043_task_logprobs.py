from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0042_run_rows_unconstrained"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="logprobs",
            field=models.JSONField(
                help_text="The log probabilities of its tokens, if the request asked for them.",
                null=True,
            ),
        ),
    ]
