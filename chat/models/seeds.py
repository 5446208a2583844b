"""What seeding has made, so that it is made once and nothing that staff changed is undone."""

from __future__ import annotations

from django.db import models


class Seed(models.Model):
    """A row of the demo content that was made, or found, once. `name` is `kind:name`.

    A row that staff deleted or renamed afterwards does not come back. `value` is what seeding has
    written last where that may change from start to start: it is written anew only while the row
    still has it.
    """

    name = models.CharField(max_length=200, primary_key=True)
    value = models.CharField(max_length=500, blank=True)
    made_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name
