"""Scenes and models as submits need them, without loading them for every batch.

One light query reads the versions of their rows; what this process has loaded under the same
version is still current. What it lacks comes from the shared cache, whose keys contain the version:
it is never out of date, and a new process reads nothing again that another has cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from django.core import serializers
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from aily.cache import Cached, KnownRows, keys
from aily.database.rows import Row, Statement
from chat.models import Deployment, LLMModel, Provider, Scene, SceneVersion
from chat.models.providers import SECRET_COLUMNS

#: Scenes kept in memory.
MAX_SCENES = 1_000

SLUGS: KnownRows[str] = KnownRows(keys.SLUGS, Scene, str, name="slug")

#: xmin and ctid together name one version of a row: whatever changes a row changes them.
_VERSIONS = """
SELECT 'models' AS kind, '' AS key, concat(
         (SELECT string_agg(concat_ws(' ', m.id, m.xmin, m.ctid, p.xmin, p.ctid), ',' ORDER BY m.id)
            FROM chat_llmmodel m JOIN chat_provider p ON p.id = m.provider_id),
         (SELECT ';' || string_agg(concat_ws(' ', d.id, d.xmin, d.ctid, p.xmin, p.ctid), ','
                                   ORDER BY d.id)
            FROM chat_deployment d JOIN chat_provider p ON p.id = d.provider_id)) AS value
UNION ALL
SELECT 'scene', s.slug, concat_ws(' ', s.xmin, s.ctid, v.xmin, v.ctid)
  FROM chat_scene s LEFT JOIN chat_sceneversion v ON v.id = s.live_version_id
 WHERE s.slug = ANY(%s)
UNION ALL
SELECT 'weight', id::text, queue_weight::text FROM accounts_user WHERE id = ANY(%s)
"""


class VersionRow(Row, frozen=True):
    """The version of all models or of a scene, or an owner's weight, as of now."""

    kind: Literal["models", "scene", "weight"]
    #: A scene's slug, an owner's id; of the models nothing.
    key: str
    value: str | None


@dataclass(slots=True)
class _Loaded:
    """All models, and the scenes that were asked for. Not to be changed."""

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
    return from_rows(versions_query(slugs, owner_ids).fetch())


def versions_query(slugs: Collection[str], owner_ids: Collection[int]) -> Statement[VersionRow]:
    """The statement whose rows `from_rows` takes."""
    params = [list(slugs), list(owner_ids)]
    return Statement(VersionRow, _VERSIONS, params, is_prepared=True)


def from_rows(rows: Iterable[VersionRow]) -> Catalog:
    """`look_up` by the rows of `versions_query`."""
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


def _versions(rows: Iterable[VersionRow]) -> tuple[dict[str, str], dict[int, float]]:
    """Versions of scenes by slug and, under "", of all models; weights by owner."""
    versions, weights = {"": ""}, {}
    for row in rows:
        if row.kind == "weight":
            weights[int(row.key)] = float(row.value or 1)
        else:
            versions[row.key] = row.value or ""
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
            for model in (Scene, SceneVersion, LLMModel, Deployment, Provider)
        ]
    ).encode()
).hexdigest()[:8]


def _key(name: str, version: str) -> str:
    """Versions of all models together are long."""
    return f"{name}:{_FORM}:{hashlib.sha256(version.encode()).hexdigest()[:32]}"


def _load_scenes(wanted: Collection[str]) -> dict[str, str]:
    """The scenes of these keys, each with its live version, as JSON."""
    by_slug = {key.partition(":")[0]: key for key in wanted}
    scenes = Scene.objects.select_related("live_version").filter(slug__in=by_slug)
    return {by_slug[scene.slug]: _document([scene, scene.live_version]) for scene in scenes}


def _load_models(wanted: Collection[str]) -> dict[str, str]:
    """All models, deployments and providers as JSON, whatever their version is called."""
    models = list(LLMModel.objects.with_deployments())
    deployments = [deployment for model in models for deployment in model.further_deployments]
    called: list[LLMModel | Deployment] = [*models, *deployments]
    providers = {deployment.provider_id: deployment.provider for deployment in called}
    return dict.fromkeys(wanted, _document([*providers.values(), *called]))


#: Of providers; no other table has columns by these names.
_UNCACHED = {*SECRET_COLUMNS, "key_hint", "header_names", "ca_bundle"}


class _ExactEncoder(DjangoJSONEncoder):
    """Keeps the microseconds of times, which Django's cuts to milliseconds."""

    def default(self, value: object) -> object:
        return value.isoformat() if isinstance(value, datetime) else super().default(value)


def _document(rows: Sequence[Model | None]) -> str:
    present = [row for row in rows if row is not None]
    names = {field.name for row in present for field in row._meta.concrete_fields}  # noqa: SLF001
    # Submits need no secrets, and the cache is to know none, not even encrypted ones.
    names -= _UNCACHED
    document: str = serializers.serialize("json", present, fields=names, cls=_ExactEncoder)
    return document


def _instances(document: str) -> list[Model]:
    instances: list[Model] = [row.object for row in serializers.deserialize("json", document)]
    for instance in instances:
        state = instance._state  # noqa: SLF001 - set as Model.from_db sets it
        state.adding, state.db = False, DEFAULT_DB_ALIAS
    return instances


def _models(document: str) -> list[LLMModel]:
    instances = _instances(document)
    providers = {row.pk: row for row in instances if isinstance(row, Provider)}
    models = [row for row in instances if isinstance(row, LLMModel)]
    deployments = [row for row in instances if isinstance(row, Deployment)]
    called: list[LLMModel | Deployment] = [*models, *deployments]
    for deployment in called:
        deployment.provider = providers[deployment.provider_id]
    for model in models:
        model.further_deployments = [row for row in deployments if row.model_id == model.pk]
        for deployment in model.further_deployments:
            deployment.model = model
    return models


def _scenes(documents: Iterable[str], models: Iterable[LLMModel]) -> list[Scene]:
    by_id = {model.pk: model for model in models}
    return [_scene(document, by_id) for document in documents]


def _scene(document: str, models: Mapping[int, LLMModel]) -> Scene:
    """The scene of a document, with its live version."""
    rows = _instances(document)
    (scene,) = (row for row in rows if isinstance(row, Scene))
    for version in rows:
        if isinstance(version, SceneVersion):
            scene.live_version = version
            # A model that was added a moment ago is read where it is asked for.
            if version.model_id is not None and (model := models.get(version.model_id)):
                version.model = model
    return scene


SCENES: Cached[str, str] = Cached(keys.SCENES, str, _load_scenes)
MODELS: Cached[str, str] = Cached(keys.MODELS, str, _load_models)


def scene_keys() -> list[str]:
    """Return the keys of the scenes that can be submitted to, for `warm_cache`."""
    slugs = list(Scene.objects.usable().values_list("slug", flat=True))
    versions, _ = _versions(versions_query(slugs, []).fetch())
    return [_key(slug, versions[slug]) for slug in slugs if slug in versions]


def model_keys() -> list[str]:
    versions, _ = _versions(versions_query([], []).fetch())
    return [_key(_ALL, versions[""])]
