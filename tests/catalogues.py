"""Translations: what is to be translated, and the catalogues of it.

`python -m tests.catalogues` brings each `django.po` up to date with the code and compiles it. What
is new has no translation then: write it, and run this again. gettext's own tools are not needed.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po
from django.apps import apps
from django.conf import settings
from django.db.models import Model
from django.utils.translation import override, to_locale
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("zh-hans",)
#: App and domain of each catalogue; "djangojs" is what scripts of the admin say.
CATALOGUES = (("accounts", "django"), ("aily", "django"), ("aily", "djangojs"), ("chat", "django"))
#: Packages with texts of the admin, whose own Chinese is missing or not loaded: aily has it.
UNTRANSLATED_PACKAGES = ("auditlog", "django.contrib.postgres")
#: Other apps whose models an app of ours translates along with its own.
FOREIGN_MODELS = {"accounts": ("guardian",), "chat": ("tables",)}
#: Parts of Django that pages show. What its own catalogues lack is in aily's.
DJANGO_PARTS = ("conf", "contrib/admin", "contrib/auth")
_TEMPLATES = (".html", ".txt")
_KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
#: Not of the day: files that say the same must be the same.
_DATE = datetime(2026, 1, 1, tzinfo=UTC)

#: What the code names a message by: a text, or its singular and plural.
MessageId = str | tuple[str, ...]
Translation = MessageId | list[str] | None


# --- What is to be translated ---------------------------------------------------------------------
def messages_of(app: str, domain: str, language: str) -> Catalog:
    """Return all messages of a catalogue, without translations."""
    catalog = Catalog(charset="utf-8")
    messages: list[MessageId] = []
    if app == "aily":
        messages += _missing_in_django(domain, language)
    if domain == "django":
        folders = [ROOT / app]
        if app == "aily":
            folders += [_package_folder(name) for name in UNTRANSLATED_PACKAGES]
        paths = [path for folder in folders for path in sorted(folder.rglob("*"))]
        messages += [message for path in paths for message in _messages_in(path)]
        for name in (app, *FOREIGN_MODELS.get(app, ())):
            messages += model_texts(name)
    for message in messages:
        catalog.add(message)
    return catalog


def _missing_in_django(domain: str, language: str) -> Iterator[MessageId]:
    """Yield what Django's catalogues of a language do not translate yet."""
    for part in DJANGO_PARTS:
        locale = _package_folder("django") / part / "locale"
        english, other = (
            locale / name / "LC_MESSAGES" / f"{domain}.po" for name in ("en", to_locale(language))
        )
        if english.exists():
            missing = {_key(text) for text in untranslated(_read(other, language))}
            known = {_key(message.id) for message in _read(other, language)}
            for message in _read(english, "en"):
                if message.id and (_key(message.id) in missing or _key(message.id) not in known):
                    yield message.id if isinstance(message.id, str) else tuple(message.id)


def _key(message: MessageId | list[str]) -> str:
    return message if isinstance(message, str) else message[0]


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise LookupError(name)
    return Path(spec.origin).parent


def _messages_in(path: Path) -> Iterator[MessageId]:
    if path.suffix == ".py" and "migrations" not in path.parts:
        source = path.read_text()
        if "gettext" not in source:
            return
    elif path.suffix in _TEMPLATES and "templates" in path.parts:
        # Calls of gettext between blanked lines, whose indentation is not Python's.
        lines = templatize(path.read_text()).splitlines()
        source = "\n".join(line.lstrip() for line in lines)
    else:
        return
    for _line, message, _comments, _context in extract(
        "python", io.BytesIO(source.encode()), keywords=_KEYWORDS
    ):
        yield message


def model_texts(app: str) -> Iterator[str]:
    """Yield what models of the app say about themselves (aily/admin/model_texts.py)."""
    with override(None):
        for model in apps.get_app_config(app).get_models():
            yield from (text for text in _texts_of(model) if text)


def _texts_of(model: type[Model]) -> Iterator[str]:
    meta = model._meta
    yield str(meta.verbose_name)
    yield str(meta.verbose_name_plural)
    yield from (str(name) for _codename, name in meta.permissions)
    # Fields of Django's base classes are in Django's catalogues.
    foreign = {
        field.name
        for base in model.__mro__
        if base.__module__.startswith("django.") and hasattr(base, "_meta")
        for field in (*base._meta.local_fields, *base._meta.local_many_to_many)
    }
    for field in (*meta.local_fields, *meta.local_many_to_many):
        if field.name not in foreign:
            yield str(field.verbose_name)
            yield str(field.help_text)
            yield from (str(label) for _value, label in field.flatchoices)
    for constraint in meta.constraints:
        if constraint.violation_error_message != constraint.default_violation_error_message:
            yield str(constraint.violation_error_message)


# --- Catalogues -----------------------------------------------------------------------------------
def po_path(app: str, domain: str, language: str) -> Path:
    return ROOT / app / "locale" / to_locale(language) / "LC_MESSAGES" / f"{domain}.po"


def read_catalogue(app: str, domain: str, language: str) -> Catalog:
    return _read(po_path(app, domain, language), language)


def _read(path: Path, language: str) -> Catalog:
    if not path.exists():
        return Catalog(locale=to_locale(language), charset="utf-8")
    with path.open("rb") as file:
        return read_po(file, locale=to_locale(language))


def read_compiled(app: str, domain: str, language: str) -> Catalog:
    with po_path(app, domain, language).with_suffix(".mo").open("rb") as file:
        return read_mo(file)


def update(app: str, domain: str, language: str) -> list[MessageId]:
    """Bring a catalogue up to date and compile it. Returns what it does not translate."""
    catalog = read_catalogue(app, domain, language)
    catalog.update(messages_of(app, domain, language), no_fuzzy_matching=True)
    catalog.project, catalog.version, catalog.header_comment = "aily", "", ""
    catalog.last_translator = catalog.language_team = catalog.msgid_bugs_address = "aily"
    catalog.fuzzy = False
    catalog.creation_date = catalog.revision_date = _DATE
    path = po_path(app, domain, language)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalog, width=100, no_location=True, sort_output=True, ignore_obsolete=True)
    with path.with_suffix(".mo").open("wb") as file:
        write_mo(file, catalog)
    return untranslated(catalog)


def untranslated(catalog: Catalog) -> list[MessageId]:
    """Return the messages without a translation, or with a fuzzy one."""
    return [
        message.id if isinstance(message.id, str) else tuple(message.id)
        for message in catalog
        if message.id and (message.fuzzy or not all(_parts(message.string)))
    ]


def _parts(text: Translation) -> Iterable[str]:
    """Return the forms of a translation: several where the language has plurals."""
    return (text or "",) if text is None or isinstance(text, str) else text


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    if not settings.configured or not apps.ready:
        import django

        django.setup()
    for app, domain in CATALOGUES:
        for language in LANGUAGES:
            missing = update(app, domain, language)
            path = po_path(app, domain, language).relative_to(ROOT)
            sys.stdout.write(f"{path}: {len(missing)} to translate\n")


if __name__ == "__main__":
    main()
