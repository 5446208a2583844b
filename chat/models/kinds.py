"""What tasks ask for, and what models can do."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class TaskKind(models.TextChoices):
    """The kind of a task, and the one that a model can do."""

    CHAT = "chat", _("Chat completion")
    EMBEDDINGS = "embeddings", _("Embeddings")
