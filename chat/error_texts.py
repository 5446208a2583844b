"""Errors of rows in the language of the page or mail that shows them.

A row keeps a code, a sentence in English and maybe parameters. English shows the sentence as it was
stored. Another language shows the text of its rule or code; what a provider or server has said is
quoted as it came. The web app has texts of its own (static/js/ui/notice.js).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _

from accounts.access.permission_labels import permission_text
from chat.reasons import SENTENCES

#: Texts of the codes that rows keep.
TEXTS: Mapping[str, str] = {
    "internal": _("aily itself failed."),
    "internal_error": _("Something went wrong here. It has been logged."),
    "worker_lost": _("Its worker died too often while running it."),
    "model_disabled": _("Its model is disabled."),
    "tool_limit": _("A limit of its tool calls is reached."),
    "budget_exceeded": _("The rest of a budget is too small."),
    "invalid_output": _("The answer does not fit its JSON Schema."),
    "invalid_request": _("A field of the request is wrong."),
    "invalid_variable": _("A variable is missing or wrong."),
    "invalid_template": _("The template or a schema cannot be used."),
    "template_timeout": _("The prompt takes too long to prepare."),
    "not_found": _("It does not exist, or belongs to somebody else."),
    "forbidden": _("Its owner may not do this any more."),
    "result_too_large": _("The answer has more vectors, or longer ones, than are stored."),
    "provider_error": _("The provider failed."),
    "provider_auth": _("The provider refused the key."),
    "provider_balance": _("The provider's account is empty."),
    "provider_model_not_found": _("The provider does not offer this model."),
    "provider_bad_request": _("The provider refused the request."),
    "provider_rate_limited": _("The provider takes no more requests at the moment."),
    "provider_overloaded": _("The provider is overloaded."),
    "provider_forbidden_address": _("The provider's address is not allowed."),
    "provider_unreachable": _("The provider cannot be reached."),
    "provider_timeout_connect": _("No connection to the provider came about in time."),
    "provider_timeout_first_token": _("The provider's first token did not come in time."),
    "provider_timeout_between_tokens": _("The provider paused for too long within its answer."),
    "provider_timeout_total": _("The provider's answer took too long."),
    "provider_truncated": _("The connection ended before the answer did."),
    "provider_invalid_response": _("The provider sent something that is no answer."),
    "provider_empty": _("The provider's answer is empty."),
    # Of tool servers and their tools.
    "delivery_failed": _("It could not be delivered."),
    "tools_unlisted": _("The tools cannot be listed."),
    "tool_unusable": _("The tool cannot be offered."),
    # Why runs are in their state, and transfers have failed.
    "asked": _("As it was asked to."),
    "staff": _("An administrator has paused it."),
    "deadline": _("Its deadline has passed."),
    "off_peak": _("It waits for the cheap hours of its model."),
    "at": _("It waits for its time."),
    "max_cost": _("Its limit of cost is spent."),
    "failing": _("Many rows failed, one after the other."),
    "invalid_file": _("The file cannot be used."),
    "empty_file": _("The file has no rows."),
    "no_file": _("The file is gone."),
    "unknown_encoding": _("The encoding of the file is not known."),
    "invalid_encoding": _("The file is no text in its encoding."),
    "invalid_header": _("The first line cannot be read as the names of columns."),
    "json_array": _("The file is one JSON array: send an object a line (JSONL)."),
    "too_many_columns": _("The file has too many columns."),
    "too_many_rows": _("The file has too many rows."),
    "too_large": _("The file would be larger than it may be."),
    "other_columns": _("The file has other columns than were shown."),
    "invalid_workbook": _("The workbook cannot be read."),
    "workbook_too_complex": _("The workbook needs more memory or time than it may."),
    "field_deleted": _("A field was deleted meanwhile."),
    "no_key": _("No column goes to the key."),
    "table_full": _("The table has no more room."),
    "table_busy": _("Others are working on the table."),
    "query_timeout": _("The query takes too long."),
}
#: Errors whose sentence is what the provider has said.
_QUOTED = frozenset(
    {"provider_error", "provider_auth", "provider_balance", "provider_model_not_found"}
    | {"provider_bad_request", "provider_rate_limited", "provider_overloaded"}
)
_ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class ErrorText:
    """`quotation`: what the text does not say, as it was stored, in English or as the provider has
    written it."""

    text: str
    quotation: str = ""

    def __str__(self) -> str:
        if not self.quotation:
            return self.text
        return gettext("%(text)s As it was stored: %(quotation)s") % {
            "text": self.text,
            "quotation": self.quotation,
        }


def error_text(
    code: str, message: str, params: Mapping[str, object] | None = None, *, has_detail: bool = False
) -> ErrorText:
    """The error in the active language. `has_detail`: the stored sentence is quoted in any case,
    for staff."""
    if message and (get_language() or _ENGLISH).split("-")[0] == _ENGLISH:
        return ErrorText(message)
    exact = _of_rule(params or {})
    if exact:
        return ErrorText(exact)
    own = gettext(message) if message else ""
    if own != message:
        return ErrorText(own)
    if code not in TEXTS:
        return ErrorText(message or code)
    is_quoted = message and (has_detail or code in _QUOTED)
    return ErrorText(gettext(TEXTS[code]), message if is_quoted else "")


def _of_rule(params: Mapping[str, object]) -> str:
    """The sentence of a rule; empty if there is none, or a parameter of it was not stored."""
    rule = str(params.get("rule", ""))
    sentence = SENTENCES.get(rule)
    if rule == "permission" and "permission" in params:
        params = {"permission": permission_text(str(params["permission"]))}
    try:
        return gettext(sentence) % params if sentence else ""
    except KeyError:
        return ""
