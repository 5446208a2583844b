"""Tools that models may call, and the servers that carry the calls out."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from aily.database.json_fields import OrderedJSONField
from aily.rest.sizes import check_sizes
from aily.secrets.encryption import decrypt, encrypt
from chat.models.llm_models import LLMModel
from chat.models.provider_fields import MAX_URL_CHARS, address_check, check_header_name
from chat.models.scenes import SceneVersion
from chat.models.tool_fields import (
    MAX_PATH_CHARS,
    check_function_name,
    check_own_tool_name,
    check_parameters,
    check_path,
    check_secret,
    check_server_url,
    check_tool_name,
    placeholders,
)

#: Columns that hold encrypted secrets: never shown, logged or cached.
SECRET_COLUMN = "encrypted_secret"  # noqa: S105 - the name of a column
#: Columns that only listings write: no change by anybody.
COLUMNS_OF_LISTINGS = ("protocol_version", "listed_at", "list_error", "listing_since")
#: The purpose that secrets are encrypted for (aily/secrets/encryption.py).
_PURPOSE = "chat.tool_server"
MAX_TIMEOUT_SECONDS = 86_400.0
MIN_RESULT_BYTES, MAX_RESULT_BYTES = 256, 16 * 1024 * 1024
MIN_LIST_TTL_SECONDS, MAX_LIST_TTL_SECONDS = 10, 604_800
MAX_DESCRIPTION_BYTES = 16_384
MAX_TOOLS_OF_A_SERVER = 500


class ToolServerKind(models.TextChoices):
    MCP = "mcp", "Model Context Protocol (Streamable HTTP)"
    HTTP = "http", "Plain HTTP"


class ToolServerAuth(models.TextChoices):
    """How calls of a server are authenticated."""

    NONE = "none", "Nothing is sent"
    BEARER = "bearer", "Authorization: Bearer"
    HEADER = "header", "A header of its own"
    OAUTH = "oauth", "OAuth 2 client credentials"


class ToolPolicy(models.TextChoices):
    """Whether a call waits for the user's approval."""

    AUTOMATIC = "automatic", "Called at once"
    ASK = "ask", "The user is asked first"
    NEVER = "never", "Not called"


class ToolServer(models.Model):
    """A service whose tools models may call: an MCP server, or a plain HTTP service.

    Its secret is stored encrypted and never shown again.
    """

    name = models.SlugField(max_length=50, unique=True)
    kind = models.CharField(
        max_length=4, choices=ToolServerKind.choices, default=ToolServerKind.MCP
    )
    url = models.CharField(
        "URL",
        max_length=MAX_URL_CHARS,
        validators=[check_server_url],
        help_text="Of an MCP server its endpoint, such as https://tools.example.com/mcp; of an "
        "HTTP service what the paths of its tools are put behind.",
    )
    is_enabled = models.BooleanField(default=True)
    public_only = models.BooleanField(
        default=False,
        editable=False,
        help_text="Its addresses were given by somebody who is no superuser: calls go to the "
        "public internet only.",
    )

    auth = models.CharField(
        "authentication",
        max_length=6,
        choices=ToolServerAuth.choices,
        default=ToolServerAuth.NONE,
    )
    key_header = models.CharField(
        "header of the key",
        max_length=100,
        blank=True,
        help_text="Such as x-api-key: the secret is sent in it as it is.",
    )
    oauth_token_url = models.CharField(
        "OAuth token URL",
        max_length=MAX_URL_CHARS,
        blank=True,
        help_text="Where tokens are asked for with the client's id and secret. Empty, for an MCP "
        "server: it is asked itself when its tools are listed, and what it says is stored here.",
    )
    oauth_client_id = models.CharField("OAuth client id", max_length=500, blank=True)
    oauth_scope = models.CharField(
        "OAuth scope", max_length=500, blank=True, help_text="Scopes with spaces between them."
    )
    oauth_resource = models.CharField(
        "OAuth resource",
        max_length=MAX_URL_CHARS,
        blank=True,
        validators=[check_server_url],
        help_text="What the token is to be for (RFC 8707), where its issuer wants to know.",
    )
    encrypted_secret = models.TextField(blank=True, editable=False)
    secret_hint = models.CharField(max_length=20, blank=True, editable=False)
    secret_changed_at = models.DateTimeField(null=True, blank=True, editable=False)

    timeout_seconds = models.FloatField(
        default=60,
        validators=[MinValueValidator(0.01), MaxValueValidator(MAX_TIMEOUT_SECONDS)],
        help_text="Longest time of one call.",
    )
    max_concurrent_calls = models.PositiveIntegerField(
        default=20,
        validators=[MinValueValidator(1)],
        help_text="Calls at once, over all workers.",
    )
    max_result_bytes = models.PositiveIntegerField(
        default=65_536,
        validators=[MinValueValidator(MIN_RESULT_BYTES), MaxValueValidator(MAX_RESULT_BYTES)],
        help_text="Longer results are cut, with a note for the model.",
    )
    list_ttl_seconds = models.PositiveIntegerField(
        "seconds until tools are listed again",
        default=3600,
        validators=[
            MinValueValidator(MIN_LIST_TTL_SECONDS),
            MaxValueValidator(MAX_LIST_TTL_SECONDS),
        ],
        help_text="Of an MCP server. New tools are disabled until staff enable them.",
    )

    protocol_version = models.CharField(
        max_length=20, blank=True, editable=False, help_text="The revision that it speaks."
    )
    listed_at = models.DateTimeField(null=True, blank=True, editable=False)
    list_error = models.CharField(
        max_length=500, blank=True, editable=False, help_text="Why listing failed the last time."
    )
    #: When a process took it on to list the tools; others leave it alone meanwhile.
    listing_since = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.auth == ToolServerAuth.HEADER:
            if not self.key_header:
                raise ValidationError({"key_header": _("Name the header that the secret goes in.")})
            try:
                check_header_name(self.key_header)
            except ValidationError as error:
                raise ValidationError({"key_header": error}) from error
        if self.auth == ToolServerAuth.OAUTH:
            self._check_oauth()
        if self.auth != ToolServerAuth.NONE and not self.encrypted_secret:
            raise ValidationError({"secret": _("This kind of authentication needs a secret.")})

    def _check_oauth(self) -> None:
        if not self.oauth_client_id:
            raise ValidationError({"oauth_client_id": _("OAuth needs the id of the client.")})
        if not self.oauth_token_url and self.kind == ToolServerKind.MCP:
            return  # it says itself where its tokens are
        try:
            check_server_url(self.oauth_token_url)
        except ValidationError as error:
            raise ValidationError({"oauth_token_url": error}) from error

    @property
    def pool(self) -> str:
        """Name of the pool in which its slots are counted."""
        return self.key[0]

    @property
    def key(self) -> tuple[str, str]:
        return tool_server_key(self.pk)

    @property
    def may_reach(self) -> Callable[[str], bool] | None:
        """The check of IP addresses that its calls may connect to. None: all are allowed."""
        return address_check(self.public_only)

    # --- The secret -----------------------------------------------------------------------------
    @property
    def has_secret(self) -> bool:
        return bool(self.encrypted_secret)

    def secret(self) -> str:
        """Decrypt the secret; empty if there is none. Raises UnreadableSecretError."""
        return decrypt(self.encrypted_secret, _PURPOSE) if self.encrypted_secret else ""

    def set_secret(self, secret: str) -> None:
        """Replace the stored secret, or remove it if empty. Raises ValidationError."""
        secret = secret.strip()
        try:
            check_secret(secret)
        except ValidationError as error:
            raise ValidationError({"secret": error}) from error
        self.encrypted_secret = encrypt(secret, _PURPOSE) if secret else ""
        # The last characters show which it is; of a short one they would give too much away.
        self.secret_hint = f"…{secret[-4:]}" if len(secret) >= 16 else "…" if secret else ""
        self.secret_changed_at = timezone.now()


def tool_server_key(pk: int) -> tuple[str, str]:
    """The key of a server's slots, as chat/scheduler/keys.py takes them: a pool of its own, with
    one deployment."""
    return f"tools-{pk}", "0"


class Tool(models.Model):
    """A function that models may call, on a tool server.

    What it may do is up to staff: hints of its server are only shown.
    """

    server = models.ForeignKey(ToolServer, on_delete=models.CASCADE, related_name="tools")
    name = models.CharField(
        max_length=128, validators=[check_tool_name], help_text="As its server calls it."
    )
    function_name = models.CharField(
        max_length=64,
        unique=True,
        validators=[check_function_name],
        help_text="As models, scenes and requests call it.",
    )
    title = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True, help_text="Sent to the model.")
    input_schema = OrderedJSONField(
        default=dict, blank=True, help_text="JSON Schema (2020-12) of the arguments."
    )
    output_schema = OrderedJSONField(
        null=True, blank=True, help_text="JSON Schema (2020-12) of structured results."
    )
    hints = models.JSONField(
        default=dict,
        blank=True,
        editable=False,
        help_text="What its server says about its effects. Nothing follows from them.",
    )

    is_enabled = models.BooleanField(default=False)
    is_restricted = models.BooleanField(
        default=False, help_text="Only for those who have the permission to use it."
    )
    policy = models.CharField(
        max_length=9,
        choices=ToolPolicy.choices,
        default=ToolPolicy.ASK,
        help_text="Whether the user approves each call.",
    )
    is_idempotent = models.BooleanField(
        default=False,
        help_text="A call may be made again after a worker died in the middle of it.",
    )
    price = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        default=0,
        validators=[MinValueValidator(Decimal(0))],
        help_text="Of one call.",
    )
    currency = models.CharField(max_length=3, default="USD")

    method = models.CharField(
        "HTTP method",
        max_length=6,
        blank=True,
        choices=[(name, name) for name in ("GET", "POST", "PUT", "PATCH", "DELETE")],
    )
    path = models.CharField(
        max_length=MAX_PATH_CHARS,
        blank=True,
        validators=[check_path],
        help_text="Such as /orders/{id}, put behind the URL of its server.",
    )
    parameters = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_parameters],
        help_text='Where arguments go: {"id": {"in": "path", "name": "id"}}. Others go into the '
        "JSON body, or into the query where there is none.",
    )

    problem = models.CharField(
        max_length=500, blank=True, editable=False, help_text="Why it cannot be offered."
    )
    previous = OrderedJSONField(
        null=True,
        blank=True,
        editable=False,
        help_text="Description and schemas before its server changed them.",
    )
    changed_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When its server changed its description or schemas, since staff last looked.",
    )
    vanished_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when its server lists it no more."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("function_name",)
        permissions = [("use_tool", "Can use tool")]
        constraints = [
            models.UniqueConstraint(fields=["server", "name"], name="one_tool_a_server_and_name")
        ]

    def __str__(self) -> str:
        return self.function_name

    def clean(self) -> None:
        check_sizes(self, "description", max_bytes=MAX_DESCRIPTION_BYTES)
        if self.server_id and self.server.kind == ToolServerKind.HTTP:
            self._check_http()
        if not self.pk and self.server_id and self.server.tools.count() >= MAX_TOOLS_OF_A_SERVER:
            message = _("A server has at most %(count)d tools.")
            raise ValidationError({"server": message % {"count": MAX_TOOLS_OF_A_SERVER}})
        if self.pk and self.is_enabled and self.price:
            self._check_currency()

    def _check_currency(self) -> None:
        """The ledger has one currency a task: that of its model."""
        live = SceneVersion.objects.filter(
            scene__is_enabled=True,
            scene__live_version=F("pk"),
            tools__contains=[self.function_name],
        ).select_related("scene", "model")
        default = LLMModel.objects.filter(is_default=True).first()
        for version in live:
            model = version.model or default
            if model is not None and model.currency != self.currency:
                message = _(
                    "The scene %(scene)s offers it, whose model is charged in %(currency)s."
                )
                given = {"scene": version.scene.slug, "currency": model.currency}
                raise ValidationError({"currency": message % given})

    def _check_http(self) -> None:
        try:
            check_own_tool_name(self.name)
        except ValidationError as error:
            raise ValidationError({"name": error}) from error
        if not self.method:
            raise ValidationError({"method": _("A tool over HTTP needs a method.")})
        try:
            check_parameters(self.parameters)
        except ValidationError:
            return  # the field says so itself
        in_path = [
            place.get("name", argument)
            for argument, place in self.parameters.items()
            if place["in"] == "path"
        ]
        if unknown := set(in_path) - set(placeholders(self.path)):
            message = _("The path has no placeholder {%(name)s}.")
            raise ValidationError({"parameters": message % {"name": min(unknown)}})

    @property
    def is_offered(self) -> bool:
        """Whether models may be offered it: staff have enabled it, and its server still has it."""
        return (
            self.is_enabled
            and self.policy != ToolPolicy.NEVER
            and self.vanished_at is None
            and not self.problem
            and self.server.is_enabled
        )
