"""Models, as callers name them, and the deployments where they are called."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from aily.rest.sizes import PARAMS_BYTES, check_sizes
from chat.models.kinds import TaskKind
from chat.models.provider_fields import StructuredOutput, structured_output_of_host
from chat.models.providers import Provider, structured_output_field

MAX_WEIGHT = 1000
#: Further deployments of a model. Each claim of its tasks looks at all of them.
MAX_DEPLOYMENTS = 20
MAX_PER_MINUTE = 1_000_000_000


def _upstream_name() -> models.CharField[str, str]:
    return models.CharField(
        max_length=100, blank=True, help_text="What the provider calls it, where that differs."
    )


def _max_concurrency() -> models.PositiveIntegerField[int, int]:
    return models.PositiveIntegerField(
        default=500,
        validators=[MinValueValidator(1)],
        help_text="Calls at once that the provider allows this account, over all workers.",
    )


def _weight() -> models.PositiveSmallIntegerField[int, int]:
    return models.PositiveSmallIntegerField(
        default=1,
        db_default=1,
        blank=True,
        validators=[MaxValueValidator(MAX_WEIGHT)],
        help_text="Of several deployments: how much fuller than one of weight 1 it is kept. "
        "0: it is not called.",
    )


def _per_minute(what: str) -> models.PositiveIntegerField[int | None, int | None]:
    return models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_PER_MINUTE)],
        help_text=f"{what} that the provider allows this account, over all workers. Empty: any "
        "number.",
    )


def _price_here(what: str) -> models.DecimalField[Decimal | None, Decimal | None]:
    return models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=f"Per million {what}, in the model's currency. Empty: the model's price.",
    )


def _takes_nothing(weight: int, paused_at: datetime | None, provider: Provider) -> bool:
    """Whether staff have a deployment, or its provider, take no tasks."""
    return weight == 0 or paused_at is not None or provider.paused_at is not None


class LLMModelQuerySet(models.QuerySet["LLMModel"]):
    def with_deployments(self) -> LLMModelQuerySet:
        """With what `all_deployments` needs, in one more query."""
        further = Deployment.objects.select_related("provider")
        prefetch = models.Prefetch("deployments", further, to_attr="loaded_deployments")
        return self.select_related("provider").prefetch_related(prefetch)


class LLMModel(models.Model):
    """A model, as callers name it. Its ready tasks wait in one queue.

    It is called at its provider, under a cap of calls at once and limits of a minute. It may have
    further deployments, each with limits of its own; a task goes where there is room.
    """

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    name = models.CharField(max_length=100, unique=True, help_text="What callers put into `model`.")
    capability = models.CharField(
        max_length=10,
        choices=TaskKind.choices,
        default=TaskKind.CHAT,
        db_default=TaskKind.CHAT,
        help_text="What it answers with: text, or vectors (POST /v1/embeddings).",
    )
    upstream_name = _upstream_name()
    max_concurrency = _max_concurrency()
    requests_per_minute = _per_minute("Requests a minute")
    tokens_per_minute = _per_minute("Tokens a minute")
    weight = _weight()
    params = models.JSONField(
        default=dict, blank=True, help_text="Request parameters sent with every call."
    )
    structured_output = structured_output_field("as its provider's others are")
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
    paused_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Since when staff have it wait: tasks are accepted and held.",
    )
    own_paused_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Since when staff have its own deployment take no tasks; further ones do.",
    )
    is_default = models.BooleanField(
        default=False, help_text="Used where neither the request nor its scene names a model."
    )
    is_restricted = models.BooleanField(
        default=False,
        help_text="Only for those who have the permission to use it, and for scenes that name it.",
    )
    # Of rows that are older than the column: when it was added.
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())

    objects: ClassVar = LLMModelQuerySet.as_manager()

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
        """Save the model; a new default replaces the old one."""
        with transaction.atomic():
            if self.is_default:
                LLMModel.objects.filter(is_default=True).exclude(pk=self.pk).update(
                    is_default=False
                )
            super().save(*args, **kwargs)

    def clean(self) -> None:
        check_sizes(self, "params", max_bytes=PARAMS_BYTES)
        if self.is_default and self.capability != TaskKind.CHAT:
            raise ValidationError({"is_default": _("The default model must be one for chat.")})
        if self.pk and self.deployments.filter(name=self.provider.name).exists():
            message = _("A further deployment of it has this provider's name.")
            raise ValidationError({"provider": message})

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        # save() keeps a single default.
        super().validate_constraints(exclude={*(exclude or ()), "is_default"})

    # --- Deployments ----------------------------------------------------------------------------
    @property
    def own_deployment(self) -> Deployment:
        """The deployment that its own fields describe; it has no row."""
        return Deployment(
            model=self,
            provider=self.provider,
            name=self.provider.name,
            upstream_name=self.upstream_name,
            max_concurrency=self.max_concurrency,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            weight=self.weight,
            paused_at=self.own_paused_at,
        )

    @property
    def further_deployments(self) -> list[Deployment]:
        """Read once; no query after `with_deployments`."""
        loaded: list[Deployment] | None = vars(self).get("loaded_deployments")
        if loaded is None:
            loaded = vars(self)["loaded_deployments"] = list(
                self.deployments.select_related("provider")
            )
        return loaded

    @further_deployments.setter
    def further_deployments(self, deployments: list[Deployment]) -> None:
        vars(self)["loaded_deployments"] = deployments

    def all_deployments(self) -> list[Deployment]:
        """Its own and the further ones."""
        return [self.own_deployment, *self.further_deployments]

    @property
    def is_offered(self) -> bool:
        """Whether tasks may name it: it is not disabled, nor are the providers of all of its
        deployments."""
        return self.is_enabled and (
            self.provider.is_enabled
            or any(deployment.provider.is_enabled for deployment in self.further_deployments)
        )

    @property
    def is_paused(self) -> bool:
        """Whether staff have paused it, or all of its deployments or their providers."""
        return self.paused_at is not None or (
            # Asked for each task that is accepted: `own_deployment` takes 7 µs.
            _takes_nothing(self.weight, self.own_paused_at, self.provider)
            and all(deployment.is_paused for deployment in self.further_deployments)
        )

    @property
    def is_simulated(self) -> bool:
        """Whether one of its deployments makes answers up."""
        return any(deployment.provider.is_simulated for deployment in self.all_deployments())

    def structured_output_at(self, provider: Provider) -> StructuredOutput | None:
        """How the model is asked for an answer that fits a JSON Schema, at a provider of one of its
        deployments. None: found out by its first answers.

        The schema goes into the prompt alone where `response_format` is not to be sent.
        """
        extra = self.params.get("extra_body")
        params = {**self.params, **extra} if isinstance(extra, dict) else self.params
        for fields in (params, provider.request_fields):
            if "response_format" in fields and fields["response_format"] is None:
                return StructuredOutput.PROMPT
        mode = (
            self.structured_output
            or provider.structured_output
            or structured_output_of_host(provider.base_url)
        )
        return StructuredOutput(mode) if mode else None

    @property
    def counts_tokens(self) -> bool:
        """Whether one of its deployments has a limit of tokens a minute."""
        return self.tokens_per_minute is not None or any(
            deployment.tokens_per_minute is not None for deployment in self.further_deployments
        )

    @property
    def pool(self) -> str:
        """Name of the pool: the ready set that its tasks share."""
        return pool_name(self.pk)

    @property
    def own_key(self) -> tuple[str, str]:
        """The key of its own deployment."""
        return self.pool, deployment_name(None, self.provider_id)


class Deployment(models.Model):
    """A further place where a model is called: an account at a provider, with limits of its own."""

    model = models.ForeignKey(LLMModel, on_delete=models.CASCADE, related_name="deployments")
    name = models.SlugField(max_length=50, help_text="Unique among the deployments of its model.")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="deployments")
    upstream_name = _upstream_name()
    max_concurrency = _max_concurrency()
    requests_per_minute = _per_minute("Requests a minute")
    tokens_per_minute = _per_minute("Tokens a minute")
    weight = _weight()
    paused_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Since when staff have it take no tasks; the model's other deployments do.",
    )
    input_price = _price_here("prompt tokens")
    cached_input_price = _price_here("cached prompt tokens")
    output_price = _price_here("completion tokens")

    class Meta:
        ordering = ("model", "id")
        # Its model's hold.
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["model", "name"], name="one_deployment_a_name")
        ]

    def __str__(self) -> str:
        return f"{self.model.name}@{self.name}"

    def clean(self) -> None:
        if self.model_id and self.name == self.model.provider.name:
            message = _("The model's own deployment is called that, after its provider.")
            raise ValidationError({"name": message})
        if self.model_id and not self.pk and self.model.deployments.count() >= MAX_DEPLOYMENTS:
            message = _("A model has at most %(count)d further deployments.")
            raise ValidationError({"model": message % {"count": MAX_DEPLOYMENTS}})
        prices = (self.input_price, self.cached_input_price, self.output_price)
        if None in prices and any(price is not None for price in prices):
            message = _("Give all three prices, or none for the model's.")
            raise ValidationError({"input_price": message})

    @property
    def called(self) -> str:
        """What the provider calls the model."""
        return self.upstream_name or self.model.name

    @property
    def is_paused(self) -> bool:
        """Whether staff have it, or its provider, take no tasks."""
        return _takes_nothing(self.weight, self.paused_at, self.provider)

    @property
    def is_held(self) -> bool:
        """Whether it takes no tasks, as it is paused or its provider is disabled."""
        return self.is_paused or not self.provider.is_enabled

    @property
    def currency(self) -> str:
        return self.model.currency

    @property
    def key(self) -> tuple[str, str]:
        """Its pool and its name there, as chat/scheduler/keys.py takes them."""
        return pool_name(self.model_id), deployment_name(self.pk, self.provider_id)


def pool_name(model_id: int) -> str:
    """The name of a model's pool."""
    return str(model_id)


def deployment_name(pk: int | None, provider_id: int) -> str:
    """The name of a deployment in its pool; without a row (`pk` None) it is the model's own.

    With another provider it is another deployment: their states in Redis are separate.
    """
    return f"{pk or 0}.{provider_id}"
