"""Scenes and models as submits need them, without loading them for every batch.

One light query tells whether what this process has loaded still is what the database holds. What a
process lacks comes from the shared cache, under the version of its rows: it is never out of date,
and a process that starts asks PostgreSQL for nothing that another has had before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core import serializers
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from aily.cache import Cached, KnownRows, keys
from aily.database.statements import Question, fetch_all
from chat.models import LLMModel, Provider, Scene, SceneVersion
from chat.models.providers import SECRET_COLUMNS

#: Scenes kept in memory.
MAX_SCENES = 1_000

SLUGS: KnownRows[str] = KnownRows(keys.SLUGS, Scene, str, name="slug")

#: xmin and ctid together name one version of a row: whatever changes a row changes them.
_VERSIONS = """
SELECT 'models', '', string_agg(concat_ws(' ', m.id, m.xmin, m.ctid, p.xmin, p.ctid), ','
                                ORDER BY m.id)
  FROM chat_llmmodel m JOIN chat_provider p ON p.id = m.provider_id
UNION ALL
SELECT 'scene', s.slug, concat_ws(' ', s.xmin, s.ctid, v.xmin, v.ctid)
  FROM chat_scene s LEFT JOIN chat_sceneversion v ON v.id = s.live_version_id
 WHERE s.slug = ANY(%s)
UNION ALL
SELECT 'weight', id::text, queue_weight::text FROM accounts_user WHERE id = ANY(%s)
"""


@dataclass(slots=True)
class _Loaded:
    """All models, and of the scenes those that were asked for. Not to be changed."""

    version: str
    models: dict[str, LLMModel] = field(default_factory=dict)
    scenes: dict[str, tuple[str, Scene]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalog:
    """What one batch of submits may name, and its owners' weights."""

    scenes: dict[str, Scene]
    models: dict[str, LLMModel]
    weights: dict[int, float]

    @property
    def default_model(self) -> LLMModel | None:
        return next((model for model in self.models.values() if model.is_default), None)


_loaded = _Loaded("")


def look_up(slugs: Collection[str], owner_ids: Collection[int]) -> Catalog:
    """The models, the scenes with these slugs, and the weights of these users, as they are now."""
    return from_rows(fetch_all(*question(slugs, owner_ids)))


def question(slugs: Collection[str], owner_ids: Collection[int]) -> Question:
    """What `from_rows` wants to know, to be asked together with something else."""
    return _VERSIONS, [list(slugs), list(owner_ids)]


def from_rows(rows: Iterable[tuple[str, str, str | None]]) -> Catalog:
    """`look_up`, by the answer to its question."""
    versions, weights = _versions(rows)
    loaded = _up_to_date(versions.pop(""))
    scenes = {}
    missing = []
    for slug, version in versions.items():
        known = loaded.scenes.get(slug)
        if known is not None and known[0] == version:
            scenes[slug] = known[1]
        else:
            missing.append(slug)
    if missing:
        found = SCENES.get_many([_key(slug, versions[slug]) for slug in missing])
        for scene in _scenes(found.values(), loaded.models.values()):
            scenes[scene.slug] = scene
            loaded.scenes[scene.slug] = (versions[scene.slug], scene)
    return Catalog(scenes, loaded.models, weights)


def _versions(
    rows: Iterable[tuple[str, str, str | None]],
) -> tuple[dict[str, str], dict[int, float]]:
    """Versions of scenes by slug and, under "", of all models; weights by owner."""
    versions, weights = {"": ""}, {}
    for kind, key, value in rows:
        if kind == "weight":
            weights[int(key)] = float(value or 1)
        else:
            versions[key] = value or ""
    return versions, weights


def _up_to_date(version: str) -> _Loaded:
    """What is loaded, made anew when a model or provider has changed since.

    What is read after the version may be newer, never older: then the next look loads once more.
    """
    global _loaded
    loaded = _loaded
    if loaded.version != version or len(loaded.scenes) > MAX_SCENES:
        models = _models(MODELS.get(_key(_ALL, version)) or "[]")
        loaded = _Loaded(version, {model.name: model for model in models})
        _loaded = loaded
    return loaded


# --- Documents ----------------------------------------------------------------------------------
_ALL = "all"
#: Documents of code that knew other columns are not read: a new column changes no row's version.
_FORM = hashlib.sha256(
    repr(
        [
            [field.attname for field in model._meta.concrete_fields]  # noqa: SLF001 - documented
            for model in (Scene, SceneVersion, LLMModel, Provider)
        ]
    ).encode()
).hexdigest()[:8]


def _key(name: str, version: str) -> str:
    """Versions of all models together are long."""
    return f"{name}:{_FORM}:{hashlib.sha256(version.encode()).hexdigest()[:32]}"


def _load_scenes(wanted: Collection[str]) -> dict[str, str]:
    """The scenes of these keys, each with its live version, as JSON."""
    by_slug = {key.partition(":")[0]: key for key in wanted}
    found = Scene.objects.select_related("live_version").filter(slug__in=by_slug)
    return {by_slug[one.slug]: _document([one, one.live_version]) for one in found}


def _load_models(wanted: Collection[str]) -> dict[str, str]:
    """All models and providers as JSON, whatever their version is called."""
    models = LLMModel.objects.select_related("provider")
    providers = {model.provider_id: model.provider for model in models}
    return dict.fromkeys(wanted, _document([*providers.values(), *models]))


#: Of providers; no other table has columns by these names.
_UNCACHED = {*SECRET_COLUMNS, "key_hint", "header_names", "ca_bundle"}


class _Exact(DjangoJSONEncoder):
    """Django's cuts times to milliseconds."""

    def default(self, value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else super().default(value)


def _document(rows: Sequence[Model | None]) -> str:
    there = [row for row in rows if row is not None]
    names = {field.name for row in there for field in row._meta.concrete_fields}  # noqa: SLF001
    # Submits need no secrets, and the cache is to know none, not even encrypted ones.
    names -= _UNCACHED
    document: str = serializers.serialize("json", there, fields=names, cls=_Exact)
    return document


def _rows(document: str) -> list[Any]:
    rows = [one.object for one in serializers.deserialize("json", document)]
    for row in rows:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 - as from_db does
    return rows


def _models(document: str) -> list[LLMModel]:
    rows = _rows(document)
    providers = {one.pk: one for one in rows if isinstance(one, Provider)}
    models = [one for one in rows if isinstance(one, LLMModel)]
    for model in models:
        model.provider = providers[model.provider_id]
    return models


def _scenes(documents: Collection[str], models: Collection[LLMModel]) -> list[Scene]:
    by_id = {model.pk: model for model in models}
    scenes = []
    for document in documents:
        scene, *versions = _rows(document)
        for version in versions:
            scene.live_version = version
            # One that was added a moment ago is read where it is asked for.
            if model := by_id.get(version.model_id):
                version.model = model
        scenes.append(scene)
    return scenes


SCENES: Cached[str, str] = Cached(keys.SCENES, str, _load_scenes)
MODELS: Cached[str, str] = Cached(keys.MODELS, str, _load_models)


def scene_keys() -> list[str]:
    """Of the scenes that can be submitted to: what `warm_cache` fills the cache with."""
    slugs = list(Scene.objects.usable().values_list("slug", flat=True))
    versions, _ = _versions(fetch_all(*question(slugs, [])))
    return [_key(slug, versions[slug]) for slug in slugs if slug in versions]


def model_keys() -> list[str]:
    versions, _ = _versions(fetch_all(*question([], [])))
    return [_key(_ALL, versions[""])]
