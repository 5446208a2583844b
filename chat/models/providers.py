"""Providers (an account at some base URL) and the models they offer."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models, transaction
from django.db.models import Q

from aily.sizes import PARAMS_BYTES, check_sizes


class Provider(models.Model):
    """An account at a DeepSeek- or OpenAI-compatible API."""

    name = models.SlugField(unique=True)
    base_url = models.URLField(
        help_text="Up to, and without, /chat/completions. Example: https://api.deepseek.com"
    )
    api_key_env = models.CharField(
        "environment variable of the API key",
        max_length=100,
        blank=True,
        validators=[RegexValidator(r"^[A-Z][A-Z0-9_]*$", "An environment variable's name.")],
        help_text="The key itself is never stored. Empty: no key is sent.",
    )
    is_enabled = models.BooleanField(default=True)
    is_simulated = models.BooleanField(
        default=False, help_text="Answers are made up; every reader is told so."
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def api_key(self) -> str | None:
        """The key from this process's environment, None when there is none."""
        return os.environ.get(self.api_key_env) if self.api_key_env else None


class LLMModel(models.Model):
    """One model of one provider. Its ready tasks wait in one queue, under one concurrency cap."""

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    name = models.CharField(max_length=100, unique=True, help_text="What callers put into `model`.")
    upstream_name = models.CharField(
        max_length=100, blank=True, help_text="What the provider calls it, where that differs."
    )
    max_concurrency = models.PositiveIntegerField(
        default=500,
        validators=[MinValueValidator(1)],
        help_text="Calls at once that the provider allows this account, over all workers.",
    )
    params = models.JSONField(
        default=dict, blank=True, help_text="Request parameters sent with every call."
    )
    default_max_tokens = models.PositiveIntegerField(
        default=4096,
        validators=[MinValueValidator(1)],
        help_text="Completion tokens that a call under a budget is held to if it names no limit.",
    )
    input_price = models.DecimalField(
        max_digits=12, decimal_places=6, default=0, help_text="Per million prompt tokens."
    )
    cached_input_price = models.DecimalField(
        max_digits=12, decimal_places=6, default=0, help_text="Per million cached prompt tokens."
    )
    output_price = models.DecimalField(
        max_digits=12, decimal_places=6, default=0, help_text="Per million completion tokens."
    )
    currency = models.CharField(max_length=3, default="USD")
    is_enabled = models.BooleanField(default=True)
    is_default = models.BooleanField(
        default=False, help_text="Used where neither the request nor its scene names a model."
    )
    is_restricted = models.BooleanField(
        default=False,
        help_text="Only for those who have the permission to use it, and for scenes that name it.",
    )

    class Meta:
        verbose_name = "model"
        ordering = ("name",)
        permissions = [("use_llmmodel", "Can use model")]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=Q(is_default=True), name="one_default_model"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A new default takes the place of the old one."""
        with transaction.atomic():
            if self.is_default:
                LLMModel.objects.filter(is_default=True).exclude(pk=self.pk).update(
                    is_default=False
                )
            super().save(*args, **kwargs)

    def clean(self) -> None:
        check_sizes(self, "params", max_bytes=PARAMS_BYTES)

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        # save() sees to it that there is one default.
        super().validate_constraints(exclude={*(exclude or ()), "is_default"})

    @property
    def pool(self) -> str:
        """Name of the ready set and of the upstream leases that its tasks share."""
        return str(self.pk)
