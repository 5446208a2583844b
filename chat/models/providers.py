"""Providers (an account at some base URL) and the models they offer."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from aily.network.public_addresses import is_not_link_local, is_public
from aily.rest.sizes import PARAMS_BYTES, check_sizes
from aily.secrets.encryption import decrypt, encrypt
from chat.models.provider_fields import (
    KEY_VARIABLE_RULE,
    MAX_URL_CHARS,
    StructuredOutput,
    check_base_url,
    check_ca_bundle,
    check_headers,
    check_key_header,
    check_key_variables,
    check_keys,
    check_proxy_credentials,
    check_proxy_url,
    check_request_fields,
    structured_output_of_host,
)

T = TypeVar("T")

#: Columns that hold encrypted secrets: never shown, logged or cached.
SECRET_COLUMNS = ("encrypted_keys", "encrypted_headers", "encrypted_proxy_credentials")
#: The purpose that secrets are encrypted for (aily/secrets/encryption.py).
_PURPOSE = "chat.provider"
MAX_SECONDS = 86_400.0


def _seconds(help_text: str) -> models.FloatField[float | None, float | None]:
    return models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(MAX_SECONDS)],
        help_text=f"{help_text} Empty: the setting's.",
    )


def _structured_output(otherwise: str) -> models.CharField[str, str]:
    return models.CharField(
        max_length=11,
        blank=True,
        default="",
        db_default="",
        choices=StructuredOutput.choices,
        help_text=f"How it is asked for an answer that fits a JSON Schema. Empty: {otherwise}.",
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
    structured_output = _structured_output(
        "as its host is known to want it; else as response_format, and in JSON mode once it has "
        "refused that"
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


class LLMModel(models.Model):
    """A model of a provider. Its ready tasks wait in one queue, under one concurrency cap."""

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
    structured_output = _structured_output("as its provider's others are")
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
    is_default = models.BooleanField(
        default=False, help_text="Used where neither the request nor its scene names a model."
    )
    is_restricted = models.BooleanField(
        default=False,
        help_text="Only for those who have the permission to use it, and for scenes that name it.",
    )
    # Of rows that are older than the column: when it was added.
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())

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

    @property
    def is_offered(self) -> bool:
        """Whether tasks may name it: neither it nor its provider is disabled."""
        return self.is_enabled and self.provider.is_enabled

    @property
    def is_paused(self) -> bool:
        """Whether staff have paused it or its provider."""
        return self.paused_at is not None or self.provider.paused_at is not None

    @property
    def structured_output_mode(self) -> StructuredOutput | None:
        """How it is asked for an answer that fits a JSON Schema. None: as the first answers tell.

        The schema goes into the prompt alone where `response_format` is not to be sent.
        """
        extra = self.params.get("extra_body")
        params = {**self.params, **extra} if isinstance(extra, dict) else self.params
        for fields in (params, self.provider.request_fields):
            if "response_format" in fields and fields["response_format"] is None:
                return StructuredOutput.PROMPT
        provider = self.provider
        mode = (
            self.structured_output
            or provider.structured_output
            or structured_output_of_host(provider.base_url)
        )
        return StructuredOutput(mode) if mode else None

    @property
    def pool(self) -> str:
        """Name of the pool: the ready set and the slots that its tasks share."""
        return pool_name(self.provider_id, self.pk)


def pool_name(provider_id: int, model_id: int) -> str:
    """The name of a model's pool, as chat/scheduler/keys.py takes it apart."""
    return f"{provider_id}.{model_id}"
