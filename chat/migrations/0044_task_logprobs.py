from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0043_texts_of_pages"),
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
