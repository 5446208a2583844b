"""Scenes: named prompts, in versions of which one is live."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from aily.database.json_fields import OrderedJSONField
from aily.rest.sizes import check_sizes
from chat.models.llm_models import LLMModel

#: 30 days.
MAX_CACHE_TTL_SECONDS = 2_592_000
#: Bounds of a version's limits of its tool loop. The settings of the installation are upper bounds
#: as well (chat/services/tool_limits.py).
MAX_TOOL_STEPS = 1_000
MIN_TOOL_SECONDS, MAX_TOOL_SECONDS = 0.1, 604_800
MIN_TOOL_RESULT_BYTES, MAX_TOOL_RESULT_BYTES = 256, 2**24
MIN_TOOL_COST, MAX_TOOL_COST = Decimal("0.000001"), 1_000_000


class SceneQuerySet(models.QuerySet["Scene"]):
    def usable(self) -> SceneQuerySet:
        """Scenes that can be submitted to; the restricted ones with a permission."""
        return self.filter(is_enabled=True, live_version__isnull=False)


class Scene(models.Model):
    """A prompt with a name. Rolling back is moving `live_version`."""

    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    is_enabled = models.BooleanField(default=True)
    is_restricted = models.BooleanField(
        default=False, help_text="Only for those who have the permission to use it."
    )
    # RESTRICT, not PROTECT: deleting the scene takes its versions, this one included, along.
    live_version = models.ForeignKey(
        "chat.SceneVersion",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.RESTRICT,
        related_name="+",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar = SceneQuerySet.as_manager()

    class Meta:
        ordering = ("slug",)
        permissions = [("use_scene", "Can use scene"), ("publish_scene", "Can publish scene")]

    def __str__(self) -> str:
        return self.slug

    def clean(self) -> None:
        check_sizes(self, "description")


class SceneVersion(models.Model):
    """One wording of a scene. Once published it never changes: tasks point at it.

    Written only by chat/services/scenes.py, which checks it and keeps published ones as they are.
    """

    scene = models.ForeignKey(Scene, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(editable=False)
    system_template = models.TextField(blank=True, help_text="Jinja2.")
    user_template = models.TextField(help_text="Jinja2.")
    variables_schema = OrderedJSONField(
        default=dict,
        blank=True,
        help_text="JSON Schema (2020-12) of the variables object. Left empty, every name that the "
        "templates use is a required string.",
    )
    output_schema = OrderedJSONField(
        null=True,
        blank=True,
        help_text="JSON Schema (2020-12) that every answer is made to fit. Left empty, answers are "
        "texts.",
    )
    model = models.ForeignKey(
        LLMModel, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    params = models.JSONField(
        default=dict, blank=True, help_text="Request parameters, such as temperature."
    )
    fallback_models = models.JSONField(
        default=list,
        blank=True,
        help_text="Names of the models that take over, in order, when the provider fails.",
    )
    tools = models.JSONField(
        default=list,
        db_default=[],
        blank=True,
        help_text="Names of the tools that the model may call.",
    )
    max_tool_steps = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_TOOL_STEPS)],
        help_text="How often the model of one task may ask for tool calls. Empty: the setting "
        "TOOL_MAX_STEPS, which is the upper bound.",
    )
    max_tool_seconds = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(MIN_TOOL_SECONDS), MaxValueValidator(MAX_TOOL_SECONDS)],
        help_text="Longest time of a task's model and tools together, without the time in which it "
        "waits for people. Empty: the setting TOOL_LOOP_SECONDS, which is the upper bound.",
    )
    max_tool_result_bytes = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[
            MinValueValidator(MIN_TOOL_RESULT_BYTES),
            MaxValueValidator(MAX_TOOL_RESULT_BYTES),
        ],
        help_text="How much of a tool's result the model is sent. Empty: the setting "
        "TOOL_RESULT_MAX_BYTES, which is the upper bound.",
    )
    max_tool_cost = models.DecimalField(
        max_digits=18,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(MIN_TOOL_COST), MaxValueValidator(MAX_TOOL_COST)],
        help_text="What a task's model and tools may cost, in any currency. Empty: the setting "
        "TOOL_LOOP_MAX_COST, which is the upper bound.",
    )
    single_flight = models.BooleanField(
        default=False,
        help_text="Equal requests at the same moment share one call of the provider, also those "
        "of different users.",
    )
    cache_ttl_seconds = models.PositiveIntegerField(
        default=0,
        blank=True,
        validators=[MaxValueValidator(MAX_CACHE_TTL_SECONDS)],
        help_text="Seconds for which an answer is given to equal requests, also of other users; "
        "0: never.",
    )
    notes = models.TextField(blank=True, help_text="What changed, for the next editor.")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, editable=False
    )
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("scene", "-number")
        constraints = [
            models.UniqueConstraint(fields=["scene", "number"], name="unique_scene_version_number")
        ]

    def __str__(self) -> str:
        return f"{self.scene.slug} v{self.number}"

    @property
    def is_published(self) -> bool:
        return self.published_at is not None
