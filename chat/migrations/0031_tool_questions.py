from django.db import migrations, models

import aily.database.json_fields


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0030_reservation_changes"),
    ]

    operations = [
        migrations.AddField(
            model_name="toolcall",
            name="questions",
            field=aily.database.json_fields.OrderedJSONField(
                help_text="What the tool has asked its user in the middle of the call.", null=True
            ),
        ),
        migrations.AddField(
            model_name="toolcall",
            name="request_state",
            field=models.TextField(
                help_text="The tool's own, to be sent back with the answer.", null=True
            ),
        ),
    ]
