from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tables", "0004_ai_runs"),
    ]

    operations = [
        migrations.AlterField(
            model_name="comparison",
            name="is_blind",
            field=models.BooleanField(
                default=False, help_text="The sides stay hidden until the end."
            ),
        ),
    ]
