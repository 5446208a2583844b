from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0031_tool_questions"),
    ]

    operations = [
        migrations.AlterField(
            model_name="tool",
            name="description",
            field=models.TextField(blank=True, help_text="Sent to the model."),
        ),
    ]
