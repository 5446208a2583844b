"""Providers: accounts at some base URL."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

# By name: `models.JSONField` is taken for an attribute of the reverse relation `models` by mypy,
# in some orders of its work.
from django.db.models import JSONField
from django.utils import timezone
from django.utils.translation import gettext as _

from aily.secrets.encryption import decrypt, encrypt
from chat.models.provider_fields import (
    KEY_VARIABLE_RULE,
    MAX_URL_CHARS,
    StructuredOutput,
    address_check,
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


def _seconds(help_text: str) -> models.FloatField[float | None, float | None]:
    return models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(MAX_SECONDS)],
        help_text=f"{help_text} Empty: the setting's.",
    )


def structured_output_field(otherwise: str) -> models.CharField[str, str]:
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
        default=False, help_text="Answers are made up, and shown as such."
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

    request_fields = JSONField(
        default=dict,
        blank=True,
        validators=[check_request_fields],
        help_text="Fields of the request's body to leave out (null) or to send by another name: "
        '{"stream_options": null, "max_tokens": "max_completion_tokens"}',
    )
    structured_output = structured_output_field(
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
        if self.pk and self.models.filter(deployments__name=self.name).exists():
            message = _("A deployment of one of its models is called that.")
            raise ValidationError({"name": message})

    @property
    def may_reach(self) -> Callable[[str], bool] | None:
        """The check of IP addresses that its calls may connect to. None: all are allowed."""
        return address_check(self.public_only)

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
        raise ValidationError({field: error}) from error
