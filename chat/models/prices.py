"""Prices of models."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils.translation import gettext as _

from chat.models.llm_models import LLMModel
from chat.models.money import price_field


class ModelPrice(models.Model):
    """A model's prices for some time. Outside of it the model's own three prices hold.

    If several hold, a price with hours or weekdays goes before one without, then the one valid
    from the later day, then the newer one.
    """

    model = models.ForeignKey(LLMModel, on_delete=models.CASCADE, related_name="prices")
    input_price = price_field("Per million prompt tokens.")
    cached_input_price = price_field("Per million cached prompt tokens.")
    output_price = price_field("Per million completion tokens.")
    currency = models.CharField(max_length=3, default="USD")
    valid_from = models.DateField(null=True, blank=True, help_text="First day, UTC.")
    valid_until = models.DateField(null=True, blank=True, help_text="Last day, UTC.")
    weekdays = ArrayField(
        models.PositiveSmallIntegerField(validators=[MaxValueValidator(6)]),
        default=list,
        blank=True,
        help_text="0 is Monday, 6 is Sunday. Empty: every day. Example: 0,1,2,3,4",
    )
    starts_at = models.TimeField(null=True, blank=True, help_text="UTC. Empty: midnight.")
    ends_at = models.TimeField(
        null=True,
        blank=True,
        help_text="UTC, not included. Empty: midnight. Before the start: on the next day.",
    )

    class Meta:
        verbose_name = "price"
        ordering = ("model", "id")

    def __str__(self) -> str:
        return f"{self.model_id}: {self.input_price}/{self.output_price} {self.currency}"

    def clean(self) -> None:
        if self.starts_at is not None and self.starts_at == self.ends_at:
            raise ValidationError({"ends_at": _("This window is empty.")})

    @property
    def has_window(self) -> bool:
        return bool(self.weekdays) or self.starts_at is not None or self.ends_at is not None

    def is_valid_on(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_until is None or day <= self.valid_until
        )

    def holds_at(self, at: datetime) -> bool:
        """True when the price is in force at this moment."""
        at = at.astimezone(UTC)
        start, end, now = self.starts_at or time.min, self.ends_at, at.time()
        if end is None or start < end:
            return now >= start and (end is None or now < end) and self._is_on(at.date())
        # Over midnight: what comes before the end belongs to the window of the day before.
        if now < end:
            return self._is_on(at.date() - timedelta(days=1))
        return now >= start and self._is_on(at.date())

    def _is_on(self, day: date) -> bool:
        return self.is_valid_on(day) and (not self.weekdays or day.weekday() in self.weekdays)
