"""Scenes and models as submits need them, without loading them for every batch.

One light query tells whether what this process has loaded still is what the database holds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from aily.database import fetch_all
from chat.models import LLMModel, Scene

#: Scenes kept in memory.
MAX_SCENES = 1_000

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
    versions, weights = _versions(slugs, owner_ids)
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
        found = Scene.objects.select_related("live_version__model__provider")
        for scene in found.filter(slug__in=missing):
            scenes[scene.slug] = scene
            loaded.scenes[scene.slug] = (versions[scene.slug], scene)
    return Catalog(scenes, loaded.models, weights)


def _versions(
    slugs: Collection[str], owner_ids: Collection[int]
) -> tuple[dict[str, str], dict[int, float]]:
    """Versions of scenes by slug and, under "", of all models; weights by owner."""
    versions, weights = {"": ""}, {}
    for kind, key, value in fetch_all(_VERSIONS, [list(slugs), list(owner_ids)]):
        if kind == "weight":
            weights[int(key)] = float(value)
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
        models = LLMModel.objects.select_related("provider")
        loaded = _Loaded(version, {model.name: model for model in models})
        _loaded = loaded
    return loaded
