"""Providers (an account at some base URL) and the models they offer."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from aily.network.public_addresses import is_not_link_local, is_public
from aily.rest.sizes import PARAMS_BYTES, check_sizes
from aily.secrets.encryption import decrypt, encrypt
from chat.models.provider_fields import (
    KEY_VARIABLE_RULE,
    MAX_URL_CHARS,
    check_base_url,
    check_ca_bundle,
    check_headers,
    check_key_header,
    check_key_variables,
    check_keys,
    check_proxy_credentials,
    check_proxy_url,
    check_request_fields,
)

T = TypeVar("T")

#: Columns that hold encrypted secrets: never shown, logged or cached.
SECRET_COLUMNS = ("encrypted_keys", "encrypted_headers", "encrypted_proxy_credentials")
#: The purpose that secrets are encrypted for (aily/secrets/encryption.py).
_PURPOSE = "chat.provider"
MAX_SECONDS = 86_400.0
MAX_WEIGHT = 1000
#: Further deployments of a model. Each claim of its tasks looks at all of them.
MAX_DEPLOYMENTS = 20
MAX_PER_MINUTE = 1_000_000_000


def _seconds(help_text: str) -> models.FloatField[float | None, float | None]:
    return models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(MAX_SECONDS)],
        help_text=f"{help_text} Empty: the setting's.",
    )


class Provider(models.Model):
    """An account at a DeepSeek- or OpenAI-compatible API.

    Keys, values of headers and a proxy's credentials are stored encrypted and never shown again.
    """

    name = models.SlugField(unique=True)
    base_url = models.CharField(
        "base URL",
        max_length=MAX_URL_CHARS,
        validators=[check_base_url],
        help_text="Up to, and without, /chat/completions, which is put before a query. Examples: "
        "https://api.deepseek.com, http://vllm:8000/v1, "
        "https://name.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
    )
    is_enabled = models.BooleanField(default=True)
    paused_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Since when staff have its models wait: tasks are accepted and held.",
    )
    is_simulated = models.BooleanField(
        default=False, help_text="Answers are made up; every reader is told so."
    )
    public_only = models.BooleanField(
        default=False,
        editable=False,
        help_text="Its addresses were given by somebody who is no superuser: calls go to the "
        "public internet only.",
    )

    api_key_env = models.CharField(
        "environment variable of the API key",
        max_length=500,
        blank=True,
        validators=[check_key_variables],
        help_text=f"{KEY_VARIABLE_RULE}, in the workers' environment; several with commas between "
        "them: calls take turns. Empty, and no key stored: none is sent.",
    )
    encrypted_keys = models.TextField(blank=True, editable=False)
    key_hint = models.CharField(max_length=200, blank=True, editable=False)
    key_header = models.CharField(
        "header of the key",
        max_length=100,
        blank=True,
        validators=[check_key_header],
        help_text="Such as api-key: the key is sent in it as it is. Empty: Authorization: Bearer.",
    )
    encrypted_headers = models.TextField(blank=True, editable=False)
    header_names = ArrayField(
        models.CharField(max_length=100), default=list, blank=True, editable=False
    )
    secrets_changed_at = models.DateTimeField(null=True, blank=True, editable=False)

    request_fields = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_request_fields],
        help_text="Fields of the request's body to leave out (null) or to send by another name: "
        '{"stream_options": null, "max_tokens": "max_completion_tokens"}',
    )
    connect_seconds = _seconds("Until there is a connection.")
    first_token_seconds = _seconds("From the call's start to the first token.")
    between_tokens_seconds = _seconds("From one token to the next.")
    total_seconds = _seconds("From the call's start to the end of the answer.")

    proxy_url = models.CharField(
        "proxy",
        max_length=MAX_URL_CHARS,
        blank=True,
        validators=[check_proxy_url],
        help_text="Such as http://proxy.example:3128. Empty: none.",
    )
    encrypted_proxy_credentials = models.TextField(blank=True, editable=False)
    ca_bundle = models.TextField(
        "certificate authorities",
        blank=True,
        validators=[check_ca_bundle],
        help_text="In PEM, in place of the system's. Empty: the system's.",
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.key_header.lower() in {name.lower() for name in self.header_names}:
            raise ValidationError({"key_header": _("The key's header is among the extra ones.")})

    @property
    def may_reach(self) -> Callable[[str], bool] | None:
        """The check of IP addresses that its calls may connect to. None: all are allowed."""
        if settings.PROVIDER_ALLOW_PRIVATE:
            return None
        return is_public if self.public_only else is_not_link_local

    # --- Secrets --------------------------------------------------------------------------------
    @property
    def has_api_key(self) -> bool:
        return bool(self.encrypted_keys)

    @property
    def has_proxy_credentials(self) -> bool:
        return bool(self.encrypted_proxy_credentials)

    def api_keys(self) -> list[str]:
        """Decrypt the stored keys. Raises UnreadableSecretError."""
        stored = self.encrypted_keys
        return decrypt(stored, _PURPOSE).split("\n") if stored else []

    def headers(self) -> dict[str, str]:
        """Decrypt the extra headers. Raises UnreadableSecretError."""
        if not self.encrypted_headers:
            return {}
        headers: dict[str, str] = json.loads(decrypt(self.encrypted_headers, _PURPOSE))
        return headers

    def proxy_credentials(self) -> str:
        """Decrypt `user:password`; empty if there is none. Raises UnreadableSecretError."""
        stored = self.encrypted_proxy_credentials
        return decrypt(stored, _PURPOSE) if stored else ""

    def set_api_keys(self, api_keys: Sequence[str]) -> None:
        """Replace the stored keys, or remove them if empty. Raises ValidationError."""
        keys = [stripped for key in api_keys if (stripped := key.strip(" \t"))]
        _check("api_keys", check_keys, keys)
        self.encrypted_keys = encrypt("\n".join(keys), _PURPOSE) if keys else ""
        # The last characters show which key it is; of a short key they would give too much away.
        self.key_hint = ", ".join(f"…{key[-4:]}" if len(key) >= 16 else "…" for key in keys)[:200]
        self.secrets_changed_at = timezone.now()

    def set_headers(self, changes: Mapping[str, str | None]) -> None:
        """Set the value of each of these headers, or remove it if None.

        Raises ValidationError, or UnreadableSecretError if others stay and cannot be decrypted.
        """
        changed = {name.lower() for name in changes}
        kept = {} if changed >= {name.lower() for name in self.header_names} else self.headers()
        headers = {name: value for name, value in kept.items() if name.lower() not in changed}
        headers |= {
            name: value.strip(" \t") for name, value in changes.items() if value is not None
        }
        _check("extra_headers", check_headers, headers)
        self.encrypted_headers = encrypt(json.dumps(headers), _PURPOSE) if headers else ""
        self.header_names = list(headers)
        self.secrets_changed_at = timezone.now()

    def set_proxy_credentials(self, credentials: str) -> None:
        """Replace the credentials, or remove them if empty. Raises ValidationError."""
        if credentials:
            _check("proxy_credentials", check_proxy_credentials, credentials)
        self.encrypted_proxy_credentials = encrypt(credentials, _PURPOSE) if credentials else ""
        self.secrets_changed_at = timezone.now()


def _check(field: str, check: Callable[[T], None], value: T) -> None:
    """Run a check; its ValidationError names the field."""
    try:
        check(value)
    except ValidationError as error:
        raise ValidationError({field: error.messages}) from error


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
    upstream_name = _upstream_name()
    max_concurrency = _max_concurrency()
    requests_per_minute = _per_minute("Requests a minute")
    tokens_per_minute = _per_minute("Tokens a minute")
    weight = _weight()
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
            self.own_deployment.is_paused
            and all(deployment.is_paused for deployment in self.further_deployments)
        )

    @property
    def is_simulated(self) -> bool:
        """Whether one of its deployments makes answers up."""
        return any(place.provider.is_simulated for place in self.all_deployments())

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
        return self.weight == 0 or self.paused_at is not None or self.provider.paused_at is not None

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

    Another provider makes it another deployment: what Redis knows of one says nothing of the other.
    """
    return f"{pk or 0}.{provider_id}"
