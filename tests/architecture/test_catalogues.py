"""Everything that people read is translated: nothing missing, nothing stale, one term once."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from django.template.base import Lexer, Token, TokenType

from chat.reasons import SENTENCES
from tests.catalogues import (
    CATALOGUES,
    LANGUAGES,
    ROOT,
    Translation,
    messages_of,
    read_catalogue,
    read_compiled,
    untranslated,
)

_RENEW = "run: python -m tests.catalogues"
#: What is the same in every language.
_UNTRANSLATABLE = {"aily", "UTC"}
#: The web app's page, whose texts are in catalogues of its own (static/js/i18n).
_OF_THE_WEB_APP = {"chat/templates/chat/index.html"}

each_catalogue = pytest.mark.parametrize(
    ("app", "domain", "language"),
    [(app, domain, language) for app, domain in CATALOGUES for language in LANGUAGES],
)


@each_catalogue
def test_a_catalogue_has_what_the_code_says_and_nothing_else(
    app: str, domain: str, language: str
) -> None:
    said = {message.id for message in messages_of(app, domain, language) if message.id}
    translated = {message.id for message in read_catalogue(app, domain, language) if message.id}
    assert said - translated == set(), _RENEW
    assert translated - said == set(), _RENEW


@each_catalogue
def test_everything_is_translated_and_keeps_its_placeholders(
    app: str, domain: str, language: str
) -> None:
    catalogue = read_catalogue(app, domain, language)
    assert untranslated(catalogue) == []
    broken = [(message.id, errors) for message, errors in catalogue.check()]
    assert broken == []
    for message in catalogue:
        # Babel checks %(name)s; the braces of str.format are ours to check.
        if "python-brace-format" in message.flags:
            assert re.findall(r"{\w+:?\w*}", str(message.id)) == re.findall(
                r"{\w+:?\w*}", str(message.string)
            )


@each_catalogue
def test_the_compiled_catalogue_is_the_written_one(app: str, domain: str, language: str) -> None:
    assert _texts(read_compiled(app, domain, language)) == _texts(
        read_catalogue(app, domain, language)
    ), _RENEW


def _texts(catalogue: Catalog) -> dict[str, str]:
    """Translations by message. The languages so far have one plural form."""
    return {_first(message.id): _first(message.string) for message in catalogue if message.id}


def _first(text: Translation) -> str:
    return text or "" if text is None or isinstance(text, str) else text[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_term_has_one_translation_in_all_apps(language: str) -> None:
    translations: defaultdict[object, set[str]] = defaultdict(set)
    for app, domain in CATALOGUES:
        for message in read_catalogue(app, domain, language):
            if message.id:
                translations[message.id].add(_first(message.string))
    assert {text: found for text, found in translations.items() if len(found) > 1} == {}


#: Other words for what has a term.
_OTHER_WORDS = {
    "账号": "账户",
    "邮箱": "邮件地址",
    "供应商": "提供商",
    "秘钥": "密钥",
    "登陆": "登录",
    "注销": "退出登录",
}
_HALF_WIDTH = re.compile(r"[一-鿿](?:[,;!?(]|[.:](?:\s|$))|\)[一-鿿]")
#: What is not written in sentences: a header, the first line of a CSV file.
_NO_SENTENCES = ("名称: 值", "行,字段,值,原因")


def _chinese() -> Iterator[tuple[str, str]]:
    """All texts, with the catalogue that each is in."""
    for app, domain in CATALOGUES:
        for message in read_catalogue(app, domain, "zh-hans"):
            if message.id:
                yield f"{app} {domain}", _first(message.string)
    for path in sorted(ROOT.glob("static/js/i18n/**/zh-hans.js")):
        for double, single in re.findall(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'', path.read_text()):
            yield str(path.relative_to(ROOT)), double or single


def test_a_thing_has_one_name_in_chinese_and_sentences_its_punctuation() -> None:
    texts = list(_chinese())
    assert len(texts) > 3000
    found = [(place, text, word) for place, text in texts for word in _OTHER_WORDS if word in text]
    assert found == []
    wrong = [
        (place, text)
        for place, text in texts
        if _HALF_WIDTH.search(text) and not any(known in text for known in _NO_SENTENCES)
    ]
    assert wrong == []


# --- Nothing bypasses the catalogues ------------------------------------------------------------
def _templates() -> Iterator[Path]:
    for app in ("accounts", "aily", "chat"):
        for path in sorted((ROOT / app / "templates").rglob("*.*")):
            if str(path.relative_to(ROOT)) not in _OF_THE_WEB_APP:
                yield path


def _untranslated_words(template: str) -> set[str]:
    """Words that a template shows by itself: as text, or in an attribute that is read."""
    inside = False
    shown: list[str] = []
    for token in Lexer(template).tokenize():
        if _is_tag(token, "blocktranslate"):
            inside = True
        elif _is_tag(token, "endblocktranslate"):
            inside = False
        elif token.token_type == TokenType.TEXT and not inside:
            shown.append(token.contents)
        else:
            shown.append(" ")
    html = re.sub(r"<!--.*?-->", " ", "".join(shown), flags=re.DOTALL)
    read = re.findall(r'(?:alt|title|placeholder|aria-label|aria-description)="([^"]*)"', html)
    texts = [
        re.sub(r"<[^>]*>|&\w+;", " ", re.sub(r"<!--.*?-->", " ", html, flags=re.DOTALL)),
        *read,
    ]
    return {word for text in texts for word in re.findall(r"[A-Za-z]{2,}", text)}


def _is_tag(token: Token, name: str) -> bool:
    return token.token_type == TokenType.BLOCK and token.contents.split()[0] == name


def test_the_check_of_templates_sees_what_is_not_translated() -> None:
    template = '<p class="x" title="Hint">Words {% translate "a" %} {{ b }}</p>'
    assert _untranslated_words(template) == {"Hint", "Words"}
    assert _untranslated_words("{% blocktranslate %}Words{% endblocktranslate %}<b>5</b>") == set()


@pytest.mark.parametrize("path", list(_templates()), ids=lambda path: path.name)
def test_a_template_says_everything_through_its_catalogue(path: Path) -> None:
    assert _untranslated_words(path.read_text()) - _UNTRANSLATABLE == set()


_PLAIN_TEXT = re.compile(
    r"(?:description=|search_help_text = |verbose_name(?:_plural)? = |title = |"
    r"messages\.\w+\(request, )f?\""
)


def test_the_admin_says_everything_through_its_catalogue() -> None:
    files = [*ROOT.glob("*/admin*.py"), *ROOT.glob("*/admin/**/*.py"), *ROOT.glob("*/*/admin.py")]
    assert len(files) > 10
    plain = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        for line in path.read_text().splitlines()
        if _PLAIN_TEXT.search(line)
    ]
    # Some lines have no words of their own: they join the name of a row and a message.
    worded = [line for line in plain if '(request, f"{' not in line and '"aily"' not in line]
    assert worded == []


#: Kinds of problems whose text is the sentence alone. Others have a text of their code.
_SPOKEN = frozenset(
    {"InvalidRequest", "NotFound", "Forbidden", "Conflict"}
    | {"InvalidValue", "NothingToFill", "TableFull"}
)
#: Where people at pages of the web app and the admin are refused something.
_REFUSING = (
    *("chat/tables/**/*.py", "chat/runs/*.py", "chat/services/submit/*.py"),
    *("chat/services/scenes.py", "chat/services/rendering.py", "chat/services/output_formats.py"),
    *("chat/services/tool_approvals.py", "chat/services/cancel.py", "chat/services/follow/*.py"),
    *("chat/services/webhooks.py", "chat/services/tool_servers.py", "chat/services/waiting.py"),
    *("chat/api/scenes.py", "chat/api/tasks.py", "chat/api/tool_calls.py", "chat/api/tools.py"),
    *("chat/api/tool_servers.py", "chat/api/webhooks.py", "chat/api/references.py"),
    *("chat/services/providers.py", "chat/services/restrictions.py", "chat/tools/offers.py"),
    *("chat/services/prompts.py", "chat/api/providers.py", "chat/api/runs.py", "chat/api/usage.py"),
    *("accounts/api/*.py", "accounts/access/*.py", "accounts/idempotency.py", "aily/rest/*.py"),
)
#: The text of the code says the same.
_SAID_BY_CODE = ("There is no such path.", "There is no such thing,", "You may not do this.")


def _bare_refusals(pattern: str, kinds: Collection[str]) -> Iterator[str]:
    """Where a problem is made of a sentence that has no rule."""
    for path in sorted(ROOT.glob(pattern)):
        for call in _calls(path.read_text()):
            line = ast.unparse(call)
            is_refusal = call.args and ast.unparse(call.func) in kinds
            has_rule = "params" in [keyword.arg for keyword in call.keywords]
            # gettext: what only the admin shows.
            is_translated = bool(call.args) and ast.unparse(call.args[0]).startswith("_(")
            is_known = has_rule or is_translated or any(words in line for words in _SAID_BY_CODE)
            if is_refusal and not is_known:
                yield f"{path.relative_to(ROOT)}: {line}"


def _calls(source: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))


@pytest.mark.parametrize("pattern", _REFUSING)
def test_what_people_at_pages_are_refused_has_a_rule_for_each_language(pattern: str) -> None:
    """`because` gives it one; a sentence alone is English."""
    calls = [call for path in ROOT.glob(pattern) for call in _calls(path.read_text())]
    called = {ast.unparse(call.func) for call in calls}
    assert called & {"because", *_SPOKEN}, "no refusal is found at all"
    assert list(_bare_refusals(pattern, _SPOKEN)) == []


#: Where schemas of requests are, whose validators refuse values.
_VALIDATING = ("accounts/api/*.py", "aily/rest/*.py", "chat/api/*.py", "chat/tables/api/*.py")


@pytest.mark.parametrize("pattern", _VALIDATING)
def test_what_validators_refuse_has_a_rule_for_each_language(pattern: str) -> None:
    """`refused` gives it one; a ValueError has a sentence alone."""
    assert list(_bare_refusals(pattern, {"ValueError", "AssertionError"})) == []


def test_rules_of_apps_that_know_no_reasons_have_a_sentence() -> None:
    """`accounts` and `aily` import no `chat`, and name the rule themselves."""
    files = [path for app in ("accounts", "aily") for path in sorted((ROOT / app).rglob("*.py"))]
    rules = {
        ast.literal_eval(value)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "rule" and isinstance(value, ast.Constant)
    }
    assert rules, "none is found at all"
    assert rules - SENTENCES.keys() == set()
